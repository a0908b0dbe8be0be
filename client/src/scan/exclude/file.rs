//! Files of patterns: one a line, `#` comments, `$NAME` as in restic.

use super::glob::Case;
use super::pattern::{Pattern, PatternError};

/// Why a file of patterns cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternFileError {
    /// A line that is no pattern.
    #[error("line {line}")]
    Pattern {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: PatternError,
    },
    /// A variable that is not set. Put in as nothing it could turn `$DIR/*` into `/*`.
    #[error("line {line}: ${name} is not set")]
    Unset {
        /// Counted from 1.
        line: usize,
        /// The variable.
        name: String,
    },
}

/// Reads patterns, one a line: blank lines and those that begin with `#` are left out, space
/// around is trimmed, `$NAME` and `${NAME}` are replaced by `variable(NAME)`, `$$` by `$`.
pub fn parse_pattern_file(
    text: &[u8],
    case: Case,
    variable: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<Vec<Pattern>, PatternFileError> {
    let mut patterns = Vec::new();
    for (line, content) in (1..).zip(text.split(|&b| b == b'\n')) {
        let content = content.trim_ascii();
        if content.is_empty() || content.starts_with(b"#") {
            continue;
        }
        let content =
            expand(content, variable).map_err(|name| PatternFileError::Unset { line, name })?;
        let pattern = Pattern::parse(&content, case)
            .map_err(|source| PatternFileError::Pattern { line, source })?;
        patterns.push(pattern);
    }
    Ok(patterns)
}

/// The name of a variable that is not set is the error.
fn expand(text: &[u8], variable: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'$' {
            out.push(first);
            continue;
        }
        if let Some(tail) = tail.strip_prefix(b"$") {
            out.push(b'$');
            rest = tail;
            continue;
        }
        let braced = tail.strip_prefix(b"{");
        let (name, tail) = leading_name(braced.unwrap_or(tail));
        let tail = match braced {
            Some(_) => tail.strip_prefix(b"}"),
            None => Some(tail),
        };
        match tail {
            Some(tail) if !name.is_empty() => {
                out.extend(variable(name).ok_or_else(|| name.to_owned())?);
                rest = tail;
            }
            _ => out.push(b'$'),
        }
    }
    Ok(out)
}

fn leading_name(text: &[u8]) -> (&str, &[u8]) {
    let end =
        text.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (std::str::from_utf8(name).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(name: &str) -> Option<Vec<u8>> {
        (name == "HOME").then(|| b"/home/x".to_vec())
    }

    fn texts(file: &str) -> Vec<String> {
        let patterns = parse_pattern_file(file.as_bytes(), Case::Sensitive, &home).unwrap();
        let texts = patterns.iter().map(|p| p.text().escape_ascii().to_string());
        texts.collect()
    }

    #[test]
    fn comments_blanks_and_variables() {
        let got = texts("# note\n\n  *.tmp \r\n$HOME/a\n!${HOME}b\n$$x\n$\n${HOME\nlast");
        assert_eq!(got, ["*.tmp", "/home/x/a", "!/home/xb", "$x", "$", "${HOME", "last"]);
    }

    #[test]
    fn errors_name_the_line() {
        let parse = |text: &str| parse_pattern_file(text.as_bytes(), Case::Sensitive, &home);
        assert_eq!(parse("a\n$NOPE/*").unwrap_err().to_string(), "line 2: $NOPE is not set");
        assert_eq!(parse("a\n\n[x").unwrap_err().to_string(), "line 3");
    }
}
