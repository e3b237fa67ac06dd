//! Names of tensors in other projects and here: patterns that read in both directions.
//!
//! Names are parts joined by dots. In a pattern `{}` stands for one part and `*` for one or more; what they stand for goes
//! from one side of a [`Rule`] to the other, in order.

/// One pattern of names and what it is called here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names there. Three of them are the query, key and value whose rows are one tensor here.
    foreign: Vec<String>,
    /// The name here.
    native: String,
    /// Read, never written: an older spelling of another rule's names.
    alias: bool,
}

/// Tensors that no module of this project holds and that are known: they are kept, and written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Names there.
    pub pattern: String,
    /// What they are.
    pub what: &'static str,
}

/// Every name of a tower or of a whole model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    rules: Vec<Rule>,
    carried: Vec<Carried>,
}

/// Where a name of a file goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A tensor of ours, or the part of one: its name, which part, of how many.
    Tensor(String, usize, usize),
    /// Kept and written again; what it is.
    Carried(&'static str),
}

impl Layout {
    /// Adds names that mean the same there and here but for their spelling.
    #[must_use]
    pub fn rename(mut self, pairs: &[(&str, &str)]) -> Self {
        let rule = |&(foreign, native): &(&str, &str)| Rule {
            foreign: vec![foreign.to_owned()],
            native: native.to_owned(),
            alias: false,
        };
        self.rules.extend(pairs.iter().map(rule));
        self
    }

    /// Adds older spellings, which are read but never written. They are tried before the rest.
    #[must_use]
    pub fn alias(mut self, pairs: &[(&str, &str)]) -> Self {
        let rule = |&(foreign, native): &(&str, &str)| Rule {
            foreign: vec![foreign.to_owned()],
            native: native.to_owned(),
            alias: true,
        };
        self.rules.splice(0..0, pairs.iter().map(rule));
        self
    }

    /// Adds three tensors whose rows, one after another, are one tensor here.
    #[must_use]
    pub fn fuse(mut self, foreign: [&str; 3], native: &str) -> Self {
        let foreign = foreign.iter().map(|&name| name.to_owned()).collect();
        self.rules.push(Rule { foreign, native: native.to_owned(), alias: false });
        self
    }

    /// Adds tensors that are kept but not modelled.
    #[must_use]
    pub fn carry(mut self, patterns: &[(&str, &'static str)]) -> Self {
        self.carried.extend(patterns.iter().map(|&(p, what)| Carried { pattern: p.to_owned(), what }));
        self
    }

    /// Without a pattern of tensors that are kept: a kind of file models them.
    #[must_use]
    pub fn without(mut self, pattern: &str) -> Self {
        self.carried.retain(|carried| carried.pattern != pattern);
        self
    }

    /// The same with a prefix before every name there.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        for name in self.rules.iter_mut().flat_map(|rule| &mut rule.foreign) {
            *name = format!("{prefix}{name}");
        }
        for carried in &mut self.carried {
            carried.pattern = format!("{prefix}{}", carried.pattern);
        }
        self
    }

    /// The same with a prefix before every name here.
    #[must_use]
    pub fn tower(mut self, prefix: &str) -> Self {
        for rule in &mut self.rules {
            rule.native = format!("{prefix}{}", rule.native);
        }
        self
    }

    /// Both layouts, the first before the second.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.rules.extend(other.rules);
        self.carried.extend(other.carried);
        self
    }

    /// Where a name of a file goes; nothing where no rule knows it.
    pub fn place(&self, name: &str) -> Option<Place> {
        if let Some(what) = self.carries(name) {
            return Some(Place::Carried(what));
        }
        self.rules.iter().find_map(|rule| {
            let parts = rule.foreign.len();
            (0..parts).find_map(|part| {
                let found = capture(&rule.foreign[part], name)?;
                Some(Place::Tensor(fill(&rule.native, &found), part, parts))
            })
        })
    }

    /// What a tensor is that is kept but not modelled; nothing for others.
    pub fn carries(&self, name: &str) -> Option<&'static str> {
        self.carried.iter().find(|carried| capture(&carried.pattern, name).is_some()).map(|carried| carried.what)
    }

    /// The names there of a tensor of ours: one, or three whose rows it joins; nothing where no rule knows it.
    pub fn foreign(&self, native: &str) -> Option<Vec<String>> {
        self.rules.iter().filter(|rule| !rule.alias).find_map(|rule| {
            let found = capture(&rule.native, native)?;
            Some(rule.foreign.iter().map(|name| fill(name, &found)).collect())
        })
    }
}

/// What the wildcards of a pattern stand for in a name; nothing where it does not fit.
fn capture(pattern: &str, name: &str) -> Option<Vec<String>> {
    let (pattern, name): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), name.split('.').collect());
    let rest = pattern.iter().position(|part| *part == "*");
    let enough = if rest.is_some() { name.len() >= pattern.len() } else { name.len() == pattern.len() };
    if !enough {
        return None;
    }
    let mut found = Vec::new();
    let mut single = |pattern: &[&str], name: &[&str]| {
        pattern.iter().zip(name).all(|(pattern, part)| {
            if *pattern == "{}" {
                found.push((*part).to_owned());
            }
            *pattern == "{}" || pattern == part
        })
    };
    let Some(rest) = rest else {
        return single(&pattern, &name).then_some(found);
    };
    let tail = pattern.len() - rest - 1;
    let end = name.len() - tail;
    let fits = single(&pattern[..rest], &name[..rest]);
    let middle = name[rest..end].join(".");
    let mut ends = Vec::new();
    let fits_end = pattern[rest + 1..].iter().zip(&name[end..]).all(|(pattern, part)| {
        if *pattern == "{}" {
            ends.push((*part).to_owned());
        }
        *pattern == "{}" || pattern == part
    });
    found.push(middle);
    found.extend(ends);
    (fits && fits_end).then_some(found)
}

/// A pattern with its wildcards replaced, in order.
fn fill(pattern: &str, found: &[String]) -> String {
    let mut found = found.iter();
    let parts = pattern.split('.').map(|part| match part {
        "{}" | "*" => found.next().map_or("", String::as_str),
        part => part,
    });
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::default()
            .fuse(["l.{}.q.*", "l.{}.k.*", "l.{}.v.*"], "blocks.{}.qkv.*")
            .rename(&[("l.{}.norm.*", "blocks.{}.norm1.*"), ("stem.*", "conv.*")])
            .alias(&[("l.{}.norm.gamma", "blocks.{}.norm1.weight")])
            .carry(&[("*.count", "a counter"), ("head.*", "a head")])
    }

    #[test]
    fn names_go_there_and_back() {
        let layout = layout().under("model.").tower("image_encoder.");
        let place = |name: &str| layout.place(name);
        let tensor = |name: &str, part, parts| Some(Place::Tensor(name.to_owned(), part, parts));
        assert_eq!(place("model.l.3.k.weight"), tensor("image_encoder.blocks.3.qkv.weight", 1, 3));
        assert_eq!(place("model.l.3.norm.gamma"), tensor("image_encoder.blocks.3.norm1.weight", 0, 1));
        assert_eq!(place("model.l.3.norm.weight"), tensor("image_encoder.blocks.3.norm1.weight", 0, 1));
        assert_eq!(place("model.l.3.norm.count"), Some(Place::Carried("a counter")));
        assert_eq!(place("model.head.weight"), Some(Place::Carried("a head")));
        assert_eq!(place("l.3.k.weight"), None);
        assert_eq!(place("model.stem"), None, "a star stands for at least one part");
        let back = layout.foreign("image_encoder.blocks.3.qkv.bias").unwrap();
        assert_eq!(back, ["model.l.3.q.bias", "model.l.3.k.bias", "model.l.3.v.bias"]);
        assert_eq!(layout.foreign("image_encoder.blocks.0.norm1.weight").unwrap(), ["model.l.0.norm.weight"]);
        assert_eq!(layout.foreign("text_encoder.x"), None);
    }
}
