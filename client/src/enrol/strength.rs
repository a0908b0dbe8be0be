//! Whether a passphrase is hard enough to guess.

use zxcvbn::Score;

/// What opens with the passphrase, and so how well it must stand guessing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// On enrolled machines, together with the share that they keep.
    Enrolled,
    /// Anywhere, alone: whoever steals the server's disk can guess.
    Anywhere,
}

impl Use {
    /// The zxcvbn score that is required, of 0 to 4.
    pub const fn required(self) -> u8 {
        match self {
            Self::Enrolled => 3,
            Self::Anywhere => 4,
        }
    }
}

/// What to do about a passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Good.
    Strong,
    /// Too weak, but the user insists: go on, and say so.
    AcceptedWeak(Weakness),
    /// Too weak.
    Refused(Weakness),
}

/// Why a passphrase is too weak.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this passphrase is too easy to guess (strength {score} of 4, {required} needed). {advice}"
)]
pub struct Weakness {
    /// Its score, of 0 to 4.
    pub score: u8,
    /// The score it needs.
    pub required: u8,
    /// What is wrong and what would help, in whole sentences.
    pub advice: String,
}

/// Judges a passphrase. `known` are words that an attacker would try first, such as the names of
/// the user and the machine.
///
/// `insist` (`--allow-weak-passphrase`) lets a weak one through, but never for [`Use::Anywhere`].
pub fn judge(passphrase: &str, known: &[&str], purpose: Use, insist: bool) -> Verdict {
    let entropy = zxcvbn::zxcvbn(passphrase, known);
    let score = match entropy.score() {
        Score::Zero => 0,
        Score::One => 1,
        Score::Two => 2,
        Score::Three => 3,
        _ => 4,
    };
    let required = purpose.required();
    if score >= required {
        return Verdict::Strong;
    }
    let weakness = Weakness { score, required, advice: advice(entropy.feedback()) };
    if insist && purpose == Use::Enrolled {
        Verdict::AcceptedWeak(weakness)
    } else {
        Verdict::Refused(weakness)
    }
}

fn advice(feedback: Option<&zxcvbn::feedback::Feedback>) -> String {
    let mut sentences: Vec<String> = Vec::new();
    if let Some(feedback) = feedback {
        sentences.extend(feedback.warning().map(|warning| warning.to_string()));
        sentences.extend(feedback.suggestions().first().map(ToString::to_string));
    }
    sentences.push("Five or six words that have nothing to do with each other are good.".into());
    sentences.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRONG: &str = "otter lamp violet nine gravel spoon";

    #[test]
    fn strong_is_strong() {
        for purpose in [Use::Enrolled, Use::Anywhere] {
            assert_eq!(judge(STRONG, &[], purpose, false), Verdict::Strong);
        }
    }

    #[test]
    fn weak_is_refused_and_says_why() {
        let Verdict::Refused(weakness) = judge("password1", &[], Use::Enrolled, false) else {
            panic!("accepted");
        };
        assert!(weakness.score < 3);
        let text = weakness.to_string();
        assert!(text.contains("3 needed"), "{text}");
        assert!(text.contains("common"), "{text}");
        assert!(!text.contains("password1"), "{text}");
    }

    #[test]
    fn insisting_helps_only_where_a_share_protects() {
        assert!(matches!(judge("hunter2", &[], Use::Enrolled, true), Verdict::AcceptedWeak(_)));
        assert!(matches!(judge("hunter2", &[], Use::Anywhere, true), Verdict::Refused(_)));
    }

    #[test]
    fn words_that_an_attacker_knows_count_for_nothing() {
        let strength = |known: &[&str]| judge("xq-vault-7nmr", known, Use::Enrolled, false);
        assert_eq!(strength(&[]), Verdict::Strong);
        assert!(matches!(strength(&["xq-vault-7nmr"]), Verdict::Refused(_)));
    }

    #[test]
    fn empty_and_endless() {
        assert!(matches!(
            judge("", &[], Use::Enrolled, false),
            Verdict::Refused(Weakness { score: 0, .. })
        ));
        assert!(matches!(
            judge(&"a".repeat(100_000), &[], Use::Enrolled, false),
            Verdict::Refused(_)
        ));
    }
}
