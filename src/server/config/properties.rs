//! Java's `.properties` syntax: what `server.properties` and `meta.properties` are written in. Pure text work.
//!
//! Read as `java.util.Properties.load` reads it, with two differences: the text is UTF-8 (Java's stream form is Latin-1;
//! `\uXXXX` works in both), and the line of each entry is kept for messages.

use std::fmt;

/// One entry of a properties text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The key, escapes resolved.
    pub key: String,
    /// The value, escapes resolved; trailing blanks kept, as Java keeps them.
    pub value: String,
    /// The line on which the entry starts, counted from 1.
    pub line: u32,
}

/// A text that is not in Java's properties syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertiesError {
    /// The line on which the entry starts, counted from 1.
    pub line: u32,
    /// What is wrong, as half a sentence.
    pub problem: &'static str,
}

impl fmt::Display for PropertiesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

/// All entries of `text` in their order; a key may come more than once (Java lets the last one win).
///
/// Errors: an escape `\u` that is not followed by four hexadecimal digits, or that names half a character.
pub fn parse_properties(text: &str) -> Result<Vec<Property>, PropertiesError> {
    let mut properties = Vec::new();
    let mut lines =
        (1u32..).zip(text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)));
    while let Some((line, natural)) = lines.next() {
        let start = natural.trim_start_matches(is_blank);
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.to_owned();
        while ends_with_continuation(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let (key, value) = split_entry(&logical);
        properties.push(Property {
            key: unescape(key, line)?,
            value: unescape(value, line)?,
            line,
        });
    }
    Ok(properties)
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\u{c}')
}

/// An odd number of backslashes at the end: an even number is escaped backslashes.
fn ends_with_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The key ends at the first unescaped `=`, `:` or blank; blanks and one separator between it and the value are dropped.
fn split_entry(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let key_end = logical
        .char_indices()
        .find(|(_, letter)| {
            let ends = !escaped && (is_blank(*letter) || matches!(letter, '=' | ':'));
            escaped = !escaped && *letter == '\\';
            ends
        })
        .map_or(logical.len(), |(index, _)| index);
    let (key, rest) = logical.split_at(key_end);
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(is_blank))
}

fn unescape(text: &str, line: u32) -> Result<String, PropertiesError> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let resolved = if letter == '\\' {
            match letters.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let digits: String = letters.by_ref().take(4).collect();
                    let is_hexadecimal =
                        digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                    let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| is_hexadecimal);
                    let problem = "\\u is not followed by four hexadecimal digits";
                    units.push(unit.ok_or(PropertiesError { line, problem })?);
                    continue;
                }
                Some(other) => other,
                None => break,
            }
        } else {
            letter
        };
        units.extend_from_slice(resolved.encode_utf16(&mut [0; 2]));
    }
    let problem = "\\u names half a character";
    String::from_utf16(&units).map_err(|_| PropertiesError { line, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, u32)]) {
        let parsed = parse_properties(text).unwrap();
        let found: Vec<_> =
            parsed.iter().map(|one| (one.key.as_str(), one.value.as_str(), one.line)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn separators_are_equals_colon_and_blank() {
        check(
            "a=1\nb: 2\nc 3\n\td\t=\t4 \ne",
            &[("a", "1", 1), ("b", "2", 2), ("c", "3", 3), ("d", "4 ", 4), ("e", "", 5)],
        );
        check("a==1\nb = = 2", &[("a", "=1", 1), ("b", "= 2", 2)]);
    }

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        check("# a=1\n  ! b=2\n\n   \r\nc=3\r\n", &[("c", "3", 5)]);
    }

    #[test]
    fn a_line_goes_on_after_an_odd_number_of_backslashes() {
        check(
            "a=1,\\\n   2,\\\n\t3\nb=x\\\\\nc=4",
            &[("a", "1,2,3", 1), ("b", "x\\", 4), ("c", "4", 5)],
        );
        check("a=1\\", &[("a", "1", 1)]);
        check("a=1\\\n# no comment", &[("a", "1# no comment", 1)]);
    }

    #[test]
    fn escapes_are_resolved() {
        check("a\\ b\\=c=\\t\\u00e9\\ud83d\\ude00\\q", &[("a b=c", "\té😀q", 1)]);
        let problem = "\\u is not followed by four hexadecimal digits";
        assert_eq!(parse_properties("\na=\\u12"), Err(PropertiesError { line: 2, problem }));
        assert_eq!(parse_properties("\na=\\u+123"), Err(PropertiesError { line: 2, problem }));
        let problem = "\\u names half a character";
        assert_eq!(parse_properties("a=\\ud83d"), Err(PropertiesError { line: 1, problem }));
    }
}
