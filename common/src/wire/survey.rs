//! The bodies of what looks after packs: whether their files are there, and are what they were.

use serde::{Deserialize, Serialize};

use super::base64::Base64;
use crate::codec::DecodeError;
use crate::id::PackNumber;
use crate::packset::PackSet;
use crate::vault::PackSurvey;

/// [`super::endpoint::SURVEY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SurveyBody {
    /// Packs above this number; from the first without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PackNumber>,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SurveyAnswer {
    /// Packs whose file is not there, as [`PackSet::to_bytes`] writes them.
    pub gone: Base64,
    /// Packs whose file has another length, likewise.
    pub odd: Base64,
    /// The last pack that was looked at, if there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<PackNumber>,
}

/// [`super::endpoint::VERIFY`]. The answer is a packset: those that are not there whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VerifyBody {
    /// The packs, as [`PackSet::to_bytes`] writes them.
    pub packs: Base64,
}

impl From<PackSurvey> for SurveyAnswer {
    fn from(survey: PackSurvey) -> Self {
        let PackSurvey { gone, odd, next } = survey;
        Self { gone: gone.to_bytes().into(), odd: odd.to_bytes().into(), next }
    }
}

impl TryFrom<SurveyAnswer> for PackSurvey {
    type Error = DecodeError;

    fn try_from(answer: SurveyAnswer) -> Result<Self, DecodeError> {
        Ok(Self {
            gone: PackSet::from_bytes(&answer.gone.0)?,
            odd: PackSet::from_bytes(&answer.odd.0)?,
            next: answer.next,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn surveys(gone in prop::collection::btree_set(any::<u32>(), 0..9),
                   odd in prop::collection::btree_set(any::<u32>(), 0..9),
                   next in any::<Option<u32>>()) {
            let set = |numbers: std::collections::BTreeSet<u32>| {
                numbers.into_iter().map(PackNumber).collect::<PackSet>()
            };
            let next = next.map(PackNumber);
            let survey = PackSurvey { gone: set(gone), odd: set(odd), next };
            let text = serde_json::to_string(&SurveyAnswer::from(survey.clone())).unwrap();
            let answer: SurveyAnswer = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(PackSurvey::try_from(answer).unwrap(), survey);
        }
    }

    #[test]
    fn bodies_are_as_documented() {
        let first = serde_json::to_string(&SurveyBody { after: None }).unwrap();
        assert_eq!(first, "{}");
        let later = serde_json::to_string(&SurveyBody { after: Some(PackNumber(9)) }).unwrap();
        assert_eq!(later, r#"{"after":9}"#);
        assert!(serde_json::from_str::<SurveyBody>(r#"{"from":9}"#).is_err());
        let junk = SurveyAnswer { gone: Base64::default(), odd: Base64::default(), next: None };
        assert!(PackSurvey::try_from(junk).is_err(), "no packset is empty bytes");
    }
}
