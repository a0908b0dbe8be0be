//! Nobody takes what is noticed for days.

use std::fs;

use super::Eye;
use super::storms::{make_deep, unpack};
use crate::daemon::job::Trouble;

/// What happens in an hour.
fn work(eye: &Eye, hour: u64) {
    let (root, dir) = (&eye.root, eye.root.join(format!("unpacked/d{}", hour % 2 + 1)));
    fs::write(dir.join("f0"), hour.to_string().repeat(40 + usize::from(hour > 9))).unwrap();
    match hour % 24 {
        5 => make_deep(&root.join(format!("day at {hour}")), 5),
        9 => fs::rename(root.join("unpacked/d1/d3"), root.join(format!("moved {hour}"))).unwrap(),
        10 => fs::rename(root.join(format!("moved {}", hour - 1)), root.join("unpacked/d1/d3"))
            .unwrap(),
        15 => fs::remove_dir_all(root.join(format!("day at {}", hour - 10))).unwrap(),
        _ => {}
    }
}

#[test]
fn a_server_that_is_stopped_for_three_days_gets_everything_afterwards() {
    let mut eye = Eye::open(|root| unpack(root, 40, 2));
    eye.save();
    let mut tries = 0;
    for hour in 0..72 {
        eye.saver().gate.stop(true);
        work(&eye, hour);
        eye.sentinel();
        for ran in eye.later(false) {
            let failed = ran.result.expect_err("the server is stopped");
            assert_eq!(failed.code, Trouble::UNREACHABLE);
            assert!(ran.changes.is_some(), "what is to be done is known");
            tries += 1;
        }
        assert!(eye.saver().pending() > 0);
    }
    assert!((24..=72).contains(&tries), "{tries} tries in three days");
    eye.saver().gate.stop(false);
    // Nothing happens, and nobody asks.
    let ran = eye.later(false).into_iter().next().expect("a run within the hour");
    let snapshot = ran.result.unwrap().snapshot.expect("a snapshot");
    assert!(ran.changes.is_some(), "what is to be done is still known");
    eye.saver().must_hold_everything(snapshot);
    assert_eq!(eye.saver().pending(), 0);
}
