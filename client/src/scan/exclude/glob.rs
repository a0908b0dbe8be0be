//! One component of a pattern against one name: `*`, `?`, `[a-z]`, `[!a]`, `\` quotes.
//!
//! Names are bytes. Where they are UTF-8, `?` and classes take whole characters; a byte that is
//! part of none counts as one.

/// Why a text is no pattern component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// `[` without `]`.
    #[error("a [ without its ]")]
    OpenClass,
    /// `[z-a]`.
    #[error("a range in [ ] runs backwards")]
    BackwardRange,
    /// A `\` with nothing after it.
    #[error("a \\ at the end quotes nothing")]
    DanglingQuote,
}

/// Whether upper and lower case are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Case {
    /// `A` is not `a`.
    #[default]
    Sensitive,
    /// `A` is `a`.
    Ignored,
}

/// A compiled component. The common shapes are plain byte comparisons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Glob {
    /// `*`
    Anything,
    /// No wildcard at all.
    Literal(Box<[u8]>),
    /// `*` and then this.
    EndsWith(Box<[u8]>),
    /// This and then `*`.
    StartsWith(Box<[u8]>),
    /// All else.
    Tokens(Box<[Token]>, Case),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Exactly(Unit),
    AnyUnit,
    Star,
    Class { negated: bool, ranges: Box<[(Unit, Unit)]> },
}

/// A character, or a byte that is part of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    Char(char),
    Byte(u8),
}

impl Glob {
    pub(super) fn parse(text: &[u8], case: Case) -> Result<Self, GlobError> {
        let tokens = tokens(text)?;
        if case == Case::Sensitive
            && std::str::from_utf8(text).is_ok()
            && let Some(plain) = Self::plain(&tokens)
        {
            return Ok(plain);
        }
        Ok(Self::Tokens(tokens.into(), case))
    }

    /// The shapes that compare bytes. Only for UTF-8, where no character hides within another.
    fn plain(tokens: &[Token]) -> Option<Self> {
        match tokens {
            [Token::Star] => Some(Self::Anything),
            [Token::Star, rest @ ..] => literal(rest).map(Self::EndsWith),
            [rest @ .., Token::Star] => literal(rest).map(Self::StartsWith),
            all => literal(all).map(Self::Literal),
        }
    }

    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Anything => true,
            Self::Literal(text) => **text == *name,
            Self::EndsWith(text) => name.ends_with(text),
            Self::StartsWith(text) => name.starts_with(text),
            Self::Tokens(tokens, case) => matches(tokens, *case, name),
        }
    }
}

impl Token {
    fn accepts(&self, unit: Unit, case: Case) -> bool {
        match self {
            Self::Exactly(wanted) => *wanted == unit || (case.ignored() && wanted.like(unit)),
            Self::AnyUnit => true,
            Self::Star => false,
            Self::Class { negated, ranges } => {
                let within = |unit| ranges.iter().any(|&(from, to)| (from..=to).contains(&unit));
                let inside = within(unit)
                    || (case.ignored() && (within(unit.lower()) || within(unit.upper())));
                inside != *negated
            }
        }
    }
}

impl Case {
    fn ignored(self) -> bool {
        self == Self::Ignored
    }
}

impl Unit {
    fn like(self, other: Self) -> bool {
        self.lower() == other.lower()
    }

    fn lower(self) -> Self {
        match self {
            Self::Char(c) => Self::Char(c.to_lowercase().next().unwrap_or(c)),
            Self::Byte(_) => self,
        }
    }

    fn upper(self) -> Self {
        match self {
            Self::Char(c) => Self::Char(c.to_uppercase().next().unwrap_or(c)),
            Self::Byte(_) => self,
        }
    }
}

/// Greedy with one way back, to the last star: no more than tokens times units steps.
fn matches(tokens: &[Token], case: Case, name: &[u8]) -> bool {
    let (mut tokens, mut rest) = (tokens, name);
    let mut back: Option<(&[Token], &[u8])> = None;
    loop {
        match tokens.split_first() {
            Some((Token::Star, after)) => {
                back = Some((after, rest));
                tokens = after;
                continue;
            }
            Some((token, after)) => {
                if let Some((unit, tail)) = next_unit(rest)
                    && token.accepts(unit, case)
                {
                    (tokens, rest) = (after, tail);
                    continue;
                }
            }
            None if rest.is_empty() => return true,
            None => {}
        }
        let Some((after, from)) = back else {
            return false;
        };
        let Some((_, tail)) = next_unit(from) else {
            return false;
        };
        back = Some((after, tail));
        (tokens, rest) = (after, tail);
    }
}

fn next_unit(bytes: &[u8]) -> Option<(Unit, &[u8])> {
    let (&first, tail) = bytes.split_first()?;
    let length = match first {
        0..0x80 => return Some((Unit::Char(char::from(first)), tail)),
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        _ => return Some((Unit::Byte(first), tail)),
    };
    let whole = bytes
        .split_at_checked(length)
        .and_then(|(head, tail)| Some((std::str::from_utf8(head).ok()?.chars().next()?, tail)));
    match whole {
        Some((c, tail)) => Some((Unit::Char(c), tail)),
        None => Some((Unit::Byte(first), tail)),
    }
}

fn tokens(text: &[u8]) -> Result<Vec<Token>, GlobError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some((unit, tail)) = next_unit(rest) {
        rest = tail;
        match unit {
            Unit::Char('*') if tokens.last() == Some(&Token::Star) => {}
            Unit::Char('*') => tokens.push(Token::Star),
            Unit::Char('?') => tokens.push(Token::AnyUnit),
            Unit::Char('[') => {
                let (token, tail) = class(tail)?;
                tokens.push(token);
                rest = tail;
            }
            Unit::Char('\\') => {
                let (unit, tail) = next_unit(tail).ok_or(GlobError::DanglingQuote)?;
                tokens.push(Token::Exactly(unit));
                rest = tail;
            }
            unit => tokens.push(Token::Exactly(unit)),
        }
    }
    Ok(tokens)
}

/// What follows a `[`, up to and with its `]`. A `]` right at the start is one of the class.
fn class(text: &[u8]) -> Result<(Token, &[u8]), GlobError> {
    let (negated, mut rest) = match text.split_first() {
        Some((b'!' | b'^', tail)) => (true, tail),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        let (unit, tail) = next_unit(rest).ok_or(GlobError::OpenClass)?;
        if unit == Unit::Char(']') && !ranges.is_empty() {
            let ranges = ranges.into();
            return Ok((Token::Class { negated, ranges }, tail));
        }
        let (from, tail) = member(unit, tail)?;
        rest = tail;
        let mut to = from;
        if let Some((b'-', tail)) = rest.split_first()
            && !tail.starts_with(b"]")
        {
            let (unit, tail) = next_unit(tail).ok_or(GlobError::OpenClass)?;
            (to, rest) = member(unit, tail)?;
        }
        if to < from {
            return Err(GlobError::BackwardRange);
        }
        ranges.push((from, to));
    }
}

fn member(unit: Unit, tail: &[u8]) -> Result<(Unit, &[u8]), GlobError> {
    match unit {
        Unit::Char('\\') => next_unit(tail).ok_or(GlobError::OpenClass),
        unit => Ok((unit, tail)),
    }
}

fn literal(tokens: &[Token]) -> Option<Box<[u8]>> {
    let mut bytes = Vec::new();
    for token in tokens {
        match token {
            Token::Exactly(Unit::Char(c)) => {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Token::Exactly(Unit::Byte(b)) => bytes.push(*b),
            _ => return None,
        }
    }
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(pattern: &str) -> Glob {
        Glob::parse(pattern.as_bytes(), Case::Sensitive).unwrap()
    }

    #[test]
    fn wildcards() {
        for (pattern, yes, no) in [
            ("*.tmp", &["a.tmp", ".tmp"][..], &["tmp", "a.tmpx"][..]),
            ("a?c", &["abc", "aéc"], &["ac", "abbc"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x"]),
            ("[!a-c]x", &["dx", "éx"], &["ax"]),
            ("[]-]", &["]", "-"], &["a"]),
            (r"\*", &["*"], &["a"]),
            ("a*b*c", &["abc", "axbxc", "abcbc"], &["ab", "acb"]),
            ("é*", &["é", "éa"], &["e"]),
            ("", &[""], &["a"]),
            ("*", &["", "x"], &[]),
        ] {
            for name in yes {
                assert!(glob(pattern).matches(name.as_bytes()), "{pattern} {name}");
            }
            for name in no {
                assert!(!glob(pattern).matches(name.as_bytes()), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_count_as_one() {
        assert!(glob("a?").matches(b"a\xff"));
        assert!(!glob("a?").matches(b"a\xff\xfe"));
        let raw = Glob::parse(b"\xff*", Case::Sensitive).unwrap();
        assert!(raw.matches(b"\xffx"));
        assert!(!raw.matches(b"x"));
    }

    #[test]
    fn case() {
        let fold = |p: &str| Glob::parse(p.as_bytes(), Case::Ignored).unwrap();
        assert!(fold("*.JPG").matches(b"x.jpg"));
        assert!(fold("ÄRGER").matches("ärger".as_bytes()));
        assert!(fold("[a-c]").matches(b"B"));
        assert!(!glob("*.JPG").matches(b"x.jpg"));
    }

    #[test]
    fn refusals() {
        let parse = |p: &str| Glob::parse(p.as_bytes(), Case::Sensitive);
        assert_eq!(parse("[a"), Err(GlobError::OpenClass));
        assert_eq!(parse("["), Err(GlobError::OpenClass));
        assert_eq!(parse("[b-a]"), Err(GlobError::BackwardRange));
        assert_eq!(parse("a\\"), Err(GlobError::DanglingQuote));
    }

    proptest! {
        /// The same answer as an independent matcher, and from bytes as from tokens.
        #[test]
        fn agrees_with_another_matcher(pattern in "[ab*?]{0,6}", name in "[ab]{0,6}") {
            let oracle = globset::GlobBuilder::new(&pattern)
                .literal_separator(true)
                .build()
                .unwrap()
                .compile_matcher();
            // An empty name or pattern has its own meaning over there, and `**` crosses slashes.
            prop_assume!(!name.is_empty() && !pattern.is_empty() && !pattern.contains("**"));
            let plain = glob(&pattern);
            let slow = Glob::Tokens(tokens(pattern.as_bytes()).unwrap().into(), Case::Sensitive);
            prop_assert_eq!(plain.matches(name.as_bytes()), oracle.is_match(&name));
            prop_assert_eq!(slow.matches(name.as_bytes()), oracle.is_match(&name));
        }

        #[test]
        fn never_panics(
            pattern in proptest::collection::vec(any::<u8>(), 0..24),
            name in proptest::collection::vec(any::<u8>(), 0..24),
        ) {
            for case in [Case::Sensitive, Case::Ignored] {
                if let Ok(glob) = Glob::parse(&pattern, case) {
                    let same = glob.matches(&name);
                    prop_assert_eq!(same, glob.matches(&name));
                }
            }
        }
    }
}
