//! Bodies of requests and answers.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use unseen_common::privacy::{ObjectPage, Report, Statement};
use unseen_common::vault::{CommitRequest, CompactRequest, PackSurvey, ServerInfo};
use unseen_common::wire::body::{
    AccessBody, AccountBody, ChallengeAnswer, ChallengeBody, CommitBody, CompactBody, EntryBody,
    LogBody, LoginBody, PackAnswer, PutSlotsBody, ReceiptBody, RecordBody, SlotsBody, TokenAnswer,
};
use unseen_common::wire::footers;
use unseen_common::wire::problem::Problem;
use unseen_common::wire::survey::{SurveyAnswer, SurveyBody, VerifyBody};

const BODIES: &[fn(&[u8])] = &[
    json::<AccountBody>,
    json::<ChallengeAnswer>,
    json::<ChallengeBody>,
    commit,
    json::<EntryBody>,
    json::<LogBody>,
    json::<LoginBody>,
    json::<PackAnswer>,
    json::<PutSlotsBody>,
    json::<RecordBody>,
    json::<SlotsBody>,
    json::<TokenAnswer>,
    problem,
    compact,
    json::<AccessBody>,
    json::<ReceiptBody>,
    json::<ServerInfo>,
    json::<Report>,
    json::<Statement>,
    json::<SurveyBody>,
    survey,
    json::<VerifyBody>,
    json::<ObjectPage>,
];

/// The first byte says which.
pub(crate) fn bodies(data: &[u8]) {
    let Some((which, text)) = data.split_first() else {
        return;
    };
    if let Some(body) = BODIES.get(usize::from(*which) % BODIES.len()) {
        body(text);
    }
}

fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &[u8]) {
    if let Ok(body) = serde_json::from_slice::<T>(text) {
        let again = serde_json::to_vec(&body).expect("bodies have no keys but words");
        assert_eq!(serde_json::from_slice::<T>(&again).ok(), Some(body));
    }
}

fn problem(text: &[u8]) {
    drop(serde_json::from_slice::<Problem>(text).map(Problem::into_error));
}

fn commit(text: &[u8]) {
    let Ok(body) = serde_json::from_slice::<CommitBody>(text) else {
        return;
    };
    if let Ok(request) = CommitRequest::try_from(body.clone()) {
        assert_eq!(CommitBody::from(request), body);
    }
}

fn compact(text: &[u8]) {
    let Ok(body) = serde_json::from_slice::<CompactBody>(text) else {
        return;
    };
    if let Ok(request) = CompactRequest::try_from(body.clone()) {
        assert_eq!(CompactBody::from(request), body);
    }
}

fn survey(text: &[u8]) {
    let Ok(body) = serde_json::from_slice::<SurveyAnswer>(text) else {
        return;
    };
    if let Ok(survey) = PackSurvey::try_from(body.clone()) {
        assert_eq!(SurveyAnswer::from(survey), body);
    }
}

/// Pages of footers.
pub(crate) fn footer_page(data: &[u8]) {
    if let Ok(page) = footers::decode(bytes::Bytes::copy_from_slice(data)) {
        assert_eq!(footers::encode(&page), data);
    }
}
