//! Quotes in CSV rows that would make rows disappear.

use crate::error::RowFaultKind;

/// What is wrong with the quotes of one row, which ends with its line break.
///
/// The reader of the library takes what is not closed to the end of the file, and glues what follows a closing quote to
/// the field, further lines included: rows would be lost without a word.
pub(super) fn quote_fault(raw: &[u8]) -> Option<RowFaultKind> {
    if !raw.contains(&b'"') {
        return None;
    }
    let (mut at_start, mut quoted) = (true, false);
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if quoted {
            if byte == b'"' && bytes.next_if_eq(&b'"').is_none() {
                quoted = false;
                if !bytes.peek().is_none_or(|next| matches!(next, b',' | b'\r' | b'\n')) {
                    return Some(RowFaultKind::StrayQuote);
                }
            }
        } else {
            // A quote within a field that does not begin with one is a character like others.
            quoted = byte == b'"' && at_start;
            at_start = matches!(byte, b',' | b'\r' | b'\n');
        }
    }
    quoted.then_some(RowFaultKind::OpenQuote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_a_quote_would_swallow_are_found() {
        let sound = ["a,b\n", "\"a\",\"b\"\r\n", "\"a\"\"b\",5\" long\n", "\"\",\"\"", "\n\"x\n\"\"y\",1\n", ""];
        for row in sound {
            assert_eq!(quote_fault(row.as_bytes()), None, "{row:?}");
        }
        for (row, fault) in [
            ("\"a,b\n1,2\n", RowFaultKind::OpenQuote),
            ("a,\"", RowFaultKind::OpenQuote),
            ("a,\"x\"\"\n", RowFaultKind::OpenQuote),
            ("a,\"x\"y\n", RowFaultKind::StrayQuote),
            ("\"a\nb,\"x\"\n", RowFaultKind::StrayQuote),
        ] {
            assert_eq!(quote_fault(row.as_bytes()), Some(fault), "{row:?}");
        }
    }
}
