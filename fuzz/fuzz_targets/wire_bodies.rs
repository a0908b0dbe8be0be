//! Bodies of requests and answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unseen_common::wire::body::{
    AccountBody, ChallengeAnswer, ChallengeBody, CommitBody, EntryBody, LogBody, LoginBody,
    PackAnswer, PutSlotsBody, RecordBody, SlotsBody, TokenAnswer,
};
use unseen_common::wire::problem::Problem;

fuzz_target!(|data: &[u8]| {
    // The first byte says which.
    let Some((which, text)) = data.split_first() else {
        return;
    };
    match which % 13 {
        0 => drop(serde_json::from_slice::<AccountBody>(text)),
        1 => drop(serde_json::from_slice::<ChallengeAnswer>(text)),
        2 => drop(serde_json::from_slice::<ChallengeBody>(text)),
        3 => drop(serde_json::from_slice::<CommitBody>(text)),
        4 => drop(serde_json::from_slice::<EntryBody>(text)),
        5 => drop(serde_json::from_slice::<LogBody>(text)),
        6 => drop(serde_json::from_slice::<LoginBody>(text)),
        7 => drop(serde_json::from_slice::<PackAnswer>(text)),
        8 => drop(serde_json::from_slice::<PutSlotsBody>(text)),
        9 => drop(serde_json::from_slice::<RecordBody>(text)),
        10 => drop(serde_json::from_slice::<SlotsBody>(text)),
        11 => drop(serde_json::from_slice::<TokenAnswer>(text)),
        _ => drop(serde_json::from_slice::<Problem>(text).map(Problem::into_error)),
    }
});
