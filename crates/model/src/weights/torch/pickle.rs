//! The machine that pickles are programs of, protocols 0 to 5, reduced to building data.
//!
//! Nothing of a pickle is ever run: a class is a name, calling it gives a dict, a tensor or an opaque object by that name
//! alone ([`Arena::call`]). Time and memory are bounded by the limits below whatever the pickle says.

use std::collections::HashMap;
use std::io::BufRead;

use super::error::{Result, TorchProblem};
use super::input::{Input, text};
use super::value::{Arena, Node, Value};

const MAX_STEPS: u64 = 8_000_000;
const MAX_STACK: usize = 1_000_000;
const MAX_MEMO: usize = 2_000_000;
/// Longest name of a class.
const MAX_NAME: usize = 512;

/// Runs one pickle to its end and gives what it leaves.
///
/// # Errors
/// If the pickle is damaged or out of bounds.
pub(super) fn load<R: BufRead>(input: &mut Input<R>, arena: &mut Arena) -> Result<Value> {
    let mut machine = Machine { input, arena, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    for _ in 0..MAX_STEPS {
        let code = machine.input.byte()?;
        if code == b'.' {
            return machine.pop();
        }
        machine.step(code)?;
    }
    Err(TorchProblem::TooMuch { what: "steps in its pickle", limit: MAX_STEPS })
}

struct Machine<'a, R> {
    input: &'a mut Input<R>,
    arena: &'a mut Arena,
    stack: Vec<Value>,
    /// Heights of the stack at its open marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
}

impl<R: BufRead> Machine<'_, R> {
    /// One instruction, in the order of Python's `pickletools`.
    fn step(&mut self, code: u8) -> Result<()> {
        match code {
            b'I' | b'L' | b'F' | b'J' | b'K' | b'M' | b'G' | b'N' | 0x88..=0x8b => self.number(code),
            b'S' | b'T' | b'U' | b'V' | b'X' | 0x8c | 0x8d => self.string(code),
            b'B' | b'C' | 0x8e | 0x96 => self.bytes(code),
            b']' | b'a' | b'e' | b'l' | b')' | b't' | 0x85..=0x87 => self.sequence(code),
            b'}' | b'd' | b's' | b'u' | 0x8f..=0x91 => self.mapping(code),
            b'0' | b'1' | b'2' | b'(' => self.shuffle(code),
            b'g' | b'h' | b'j' | b'p' | b'q' | b'r' | 0x94 => self.remember(code),
            b'c' | b'i' | b'o' | b'R' | b'b' | 0x81..=0x84 | 0x92 | 0x93 => self.object(code),
            b'P' | b'Q' => {
                let id = if code == b'Q' { self.pop()? } else { self.input.line().map(|_| Value::None)? };
                let value = self.arena.persistent(id)?;
                self.push(value)
            }
            0x80 => match self.input.byte()? {
                0..=5 => Ok(()),
                version => Err(self.input.damaged(format!("protocol {version} is none of 0 to 5"))),
            },
            // The length of a frame is a hint for reading ahead.
            0x95 => self.input.skip(8),
            _ => Err(self.input.damaged(format!("{code:#04x} is no instruction that a file can hold"))),
        }
    }

    fn number(&mut self, code: u8) -> Result<()> {
        let value = match code {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Int(i64::from(i32::from_le_bytes(self.input.fixed()?))),
            b'K' => Value::Int(i64::from(self.input.byte()?)),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.input.fixed()?))),
            b'G' => Value::Float(f64::from_be_bytes(self.input.fixed()?)),
            b'F' => {
                let line = self.input.line()?;
                Value::Float(line.parse().map_err(|_| self.input.damaged("a float is not one"))?)
            }
            b'I' | b'L' => {
                let line = self.input.line()?;
                match line.as_str() {
                    "00" if code == b'I' => Value::Bool(false),
                    "01" if code == b'I' => Value::Bool(true),
                    line => {
                        let number = line.trim_end_matches('L').parse::<i128>();
                        let number = number.map_err(|_| self.input.damaged("an integer is not one"))?;
                        self.integer(number)?
                    }
                }
            }
            _ => {
                let len = if code == 0x8a { self.input.len::<1>()? } else { self.input.len::<4>()? };
                let bytes = self.input.bytes(len)?;
                if bytes.len() > 16 {
                    self.arena.add(Node::Opaque("a large integer"))?
                } else {
                    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                    let mut wide = [if negative { 0xff } else { 0 }; 16];
                    wide[..bytes.len()].copy_from_slice(&bytes);
                    self.integer(i128::from_le_bytes(wide))?
                }
            }
        };
        self.push(value)
    }

    fn integer(&mut self, number: i128) -> Result<Value> {
        i64::try_from(number).map_or_else(|_| self.arena.add(Node::Long(number)), |number| Ok(Value::Int(number)))
    }

    fn string(&mut self, code: u8) -> Result<()> {
        let string = match code {
            b'S' => {
                let line = self.input.line()?;
                let bare = line.strip_prefix('\'').and_then(|line| line.strip_suffix('\''));
                let bare = bare.or_else(|| line.strip_prefix('"').and_then(|line| line.strip_suffix('"')));
                bare.ok_or_else(|| self.input.damaged("a string is not quoted"))?.to_owned()
            }
            b'V' => self.input.line()?,
            _ => {
                let len = match code {
                    b'U' | 0x8c => self.input.len::<1>()?,
                    b'T' | b'X' => self.input.len::<4>()?,
                    _ => self.input.len::<8>()?,
                };
                text(self.input.bytes(len)?)
            }
        };
        // Escapes of the text protocols stand in no name of a tensor.
        let escaped = matches!(code, b'S' | b'V') && string.contains('\\');
        self.push_node(if escaped { Node::Opaque("text with escapes") } else { Node::Text(string.into()) })
    }

    fn bytes(&mut self, code: u8) -> Result<()> {
        let len = match code {
            b'C' => self.input.len::<1>()?,
            b'B' => self.input.len::<4>()?,
            _ => self.input.len::<8>()?,
        };
        self.input.skip(len)?;
        self.push_node(Node::Opaque("bytes"))
    }

    fn sequence(&mut self, code: u8) -> Result<()> {
        match code {
            b']' => self.push_node(Node::List(Vec::new())),
            b')' => self.push_node(Node::Tuple(Vec::new())),
            b'l' | b't' => {
                let members = self.pop_mark()?;
                self.arena.charge(members.len())?;
                self.push_node(if code == b'l' { Node::List(members) } else { Node::Tuple(members) })
            }
            b'a' => {
                let member = self.pop()?;
                self.extend(vec![member])
            }
            b'e' => {
                let members = self.pop_mark()?;
                self.extend(members)
            }
            _ => {
                let mut members = Vec::new();
                for _ in 0x85..=code {
                    members.insert(0, self.pop()?);
                }
                self.arena.charge(members.len())?;
                self.push_node(Node::Tuple(members))
            }
        }
    }

    /// Appends to the list on top; what is no list takes them in silence, as classes may.
    fn extend(&mut self, members: Vec<Value>) -> Result<()> {
        self.arena.charge(members.len())?;
        let list = self.top()?;
        if let Some(Node::List(list)) = self.arena.node_mut(list) {
            list.extend(members);
        }
        Ok(())
    }

    fn mapping(&mut self, code: u8) -> Result<()> {
        match code {
            b'}' => self.push_node(Node::Dict(Vec::new())),
            b'd' => {
                let members = self.pop_mark()?;
                self.push_node(Node::Dict(Vec::new()))?;
                self.set(&members)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])
            }
            b'u' => {
                let members = self.pop_mark()?;
                self.set(&members)
            }
            0x8f => self.push_node(Node::Opaque("a set")),
            // Members of a set.
            0x90 => self.pop_mark().map(drop),
            _ => {
                self.pop_mark()?;
                self.push_node(Node::Opaque("a set"))
            }
        }
    }

    /// Sets keys and values, one after the other, of the dict or object on top.
    fn set(&mut self, members: &[Value]) -> Result<()> {
        if !members.len().is_multiple_of(2) {
            return Err(self.input.damaged("a key has no value"));
        }
        self.arena.charge(members.len())?;
        let pairs = members.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        let target = self.top()?;
        match self.arena.node_mut(target) {
            Some(Node::Dict(entries)) => entries.extend(pairs),
            Some(Node::Object(object)) => object.items.extend(pairs),
            _ => {}
        }
        Ok(())
    }

    fn shuffle(&mut self, code: u8) -> Result<()> {
        match code {
            // With a mark on top Python pops the mark.
            b'0' if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.push(top)
            }
            _ => {
                if self.marks.len() >= MAX_STACK {
                    return Err(TorchProblem::TooMuch { what: "open marks in its pickle", limit: MAX_STACK as u64 });
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
        }
    }

    fn remember(&mut self, code: u8) -> Result<()> {
        let index = match code {
            b'g' | b'p' => {
                let line = self.input.line()?;
                line.parse().map_err(|_| self.input.damaged("an index of its memo is not a number"))?
            }
            b'h' | b'q' => self.input.len::<1>()?,
            b'j' | b'r' => self.input.len::<4>()?,
            _ => self.memo.len() as u64,
        };
        if matches!(code, b'g' | b'h' | b'j') {
            let value = self.memo.get(&index).copied();
            let value = value.ok_or_else(|| self.input.damaged(format!("its memo has no entry {index}")))?;
            return self.push(value);
        }
        let value = self.top()?;
        if self.memo.len() >= MAX_MEMO {
            return Err(TorchProblem::TooMuch { what: "entries in the memo of its pickle", limit: MAX_MEMO as u64 });
        }
        self.memo.insert(index, value);
        Ok(())
    }

    /// Classes and what is made by them.
    fn object(&mut self, code: u8) -> Result<()> {
        match code {
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                let class = self.class(&module, &name)?;
                self.push(class)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let names = self.arena.text(module).zip(self.arena.text(name));
                let names = names.map(|(module, name)| (clip(module), clip(name)));
                let (module, name) = names.ok_or_else(|| self.input.damaged("the name of a class is not text"))?;
                let class = self.class(&module, &name)?;
                self.push(class)
            }
            0x82..=0x84 => {
                self.input.skip(1 << (code - 0x82))?;
                self.push_node(Node::Opaque("an object of Python's extension registry"))
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                if let Some(Node::Object(object)) = self.arena.node_mut(target) {
                    object.state = state;
                }
                Ok(())
            }
            b'R' | 0x81 => {
                let (args, class) = (self.pop()?, self.pop()?);
                self.call(class, args)
            }
            0x92 => {
                let (_keywords, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(class, args)
            }
            _ => {
                let class = if code == b'i' {
                    let (module, name) = (self.input.line()?, self.input.line()?);
                    Some(self.class(&module, &name)?)
                } else {
                    None
                };
                let mut args = self.pop_mark()?;
                let class = match class {
                    Some(class) => class,
                    None if args.is_empty() => return Err(self.input.damaged("an object has no class")),
                    None => args.remove(0),
                };
                let object = self.arena.add_object(class)?;
                self.push(object)
            }
        }
    }

    fn call(&mut self, class: Value, args: Value) -> Result<()> {
        let value = self.arena.call(class, args)?;
        self.push(value)
    }

    fn class(&mut self, module: &str, name: &str) -> Result<Value> {
        if module.len() + name.len() > MAX_NAME {
            return Err(self.input.damaged("the name of a class is too long"));
        }
        self.arena.add_class(&format!("{module}.{name}"))
    }

    fn push(&mut self, value: Value) -> Result<()> {
        if self.stack.len() >= MAX_STACK {
            return Err(TorchProblem::TooMuch { what: "values on the stack of its pickle", limit: MAX_STACK as u64 });
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_node(&mut self, node: Node) -> Result<()> {
        let value = self.arena.add(node)?;
        self.push(value)
    }

    /// The value on top, which is above the last mark.
    fn top(&self) -> Result<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or_else(|| self.input.damaged("a value is missing"))
    }

    fn pop(&mut self) -> Result<Value> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// The values above the last mark, which goes.
    fn pop_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().ok_or_else(|| self.input.damaged("a mark is missing"))?;
        // No more memory than the members need: `split_off` can hand over that of the whole stack.
        Ok(self.stack.drain(mark..).collect())
    }
}

/// A name, cut where it is too long anyway.
fn clip(name: &str) -> String {
    name.chars().take(MAX_NAME + 1).collect()
}
