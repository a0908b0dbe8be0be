use proptest::prelude::*;

use super::item::spread;
use super::*;

fn s(seconds: u64) -> At {
    Duration::from_secs(seconds)
}

/// Half of the spread is the time itself.
const HALF: u32 = 1 << 31;

/// A schedule whose sets have just had their first scan.
fn begun(sets: &[&str]) -> Schedule {
    let mut schedule = Schedule::new();
    for set in sets {
        schedule.add(set, (Kind::Watched, Pace::default()), (s(0), None));
        schedule.begun(set, s(0));
        schedule.ended(set, Ended::Saved, (s(0), HALF));
    }
    schedule
}

/// A run by itself of what has changed.
fn some(set: &str) -> Next {
    Next::Run { set: set.to_owned(), full: false, wanted: false }
}

/// A run by itself over everything.
fn all(set: &str) -> Next {
    Next::Run { set: set.to_owned(), full: true, wanted: false }
}

/// A run that somebody asked for.
fn wish(set: &str) -> Next {
    Next::Run { set: set.to_owned(), full: true, wanted: true }
}

fn done(schedule: &mut Schedule, set: &str, how: Ended, now: At) {
    schedule.begun(set, now);
    assert_eq!(schedule.next(now), Next::Wait(None));
    schedule.ended(set, how, (now, HALF));
}

#[test]
fn it_begins_with_a_scan() {
    let mut schedule = Schedule::new();
    assert_eq!(schedule.next(s(0)), Next::Wait(None));
    schedule.add("a", (Kind::Watched, Pace::default()), (s(9), None));
    assert_eq!(schedule.next(s(9)), all("a"));
    done(&mut schedule, "a", Ended::Saved, s(20));
    assert_eq!(schedule.next(s(20)), Next::Wait(Some(s(20 + 3600))));
}

#[test]
fn it_waits_for_silence_but_not_for_ever() {
    let mut schedule = begun(&["a"]);
    schedule.changed("a", s(1000));
    assert_eq!(schedule.next(s(1000)), Next::Wait(Some(s(1030))));
    schedule.changed("a", s(1020));
    assert_eq!(schedule.next(s(1030)), Next::Wait(Some(s(1050))));
    assert_eq!(schedule.next(s(1050)), some("a"));
    for at in (1040..1600).step_by(20) {
        assert!(matches!(schedule.next(s(at)), Next::Wait(_) | Next::Run { .. }));
        schedule.changed("a", s(at));
        assert_eq!(schedule.next(s(at)), Next::Wait(Some(s(at + 30).min(s(1600)))));
    }
    assert_eq!(schedule.next(s(1600)), some("a"));
    done(&mut schedule, "a", Ended::Saved, s(1600));
    schedule.changed("a", s(1601));
    assert_eq!(schedule.next(s(1700)), Next::Wait(Some(s(1900))), "five minutes apart");
    assert_eq!(schedule.next(s(1900)), some("a"));
}

#[test]
fn one_at_a_time_and_the_longest_due_first() {
    let mut schedule = begun(&["a", "b", "c"]);
    schedule.changed("c", s(1000));
    schedule.changed("a", s(1001));
    assert_eq!(schedule.next(s(2000)), some("c"));
    schedule.begun("c", s(2000));
    assert_eq!(schedule.next(s(2000)), Next::Wait(None));
    schedule.ended("c", Ended::Saved, (s(2001), 0));
    assert_eq!(schedule.next(s(2001)), some("a"));
    assert!(schedule.want("b", true, s(2001)));
    assert!(!schedule.want("x", true, s(2001)));
    assert_eq!(schedule.next(s(2001)), wish("b"));
}

#[test]
fn lost_events_sleep_and_time_lead_to_scans() {
    let mut schedule = begun(&["a"]);
    schedule.lost("a", s(1000));
    assert_eq!(schedule.next(s(1029)), Next::Wait(Some(s(1030))));
    assert_eq!(schedule.next(s(1030)), all("a"));
    done(&mut schedule, "a", Ended::Saved, s(1030));
    schedule.woke(s(2000));
    assert_eq!(schedule.next(s(2015)), all("a"));
    done(&mut schedule, "a", Ended::Saved, s(2015));
    assert_eq!(schedule.next(s(5615)), all("a"));
}

#[test]
fn a_scan_is_not_taken_for_made_by_a_run_that_made_none() {
    let mut schedule = begun(&["a"]);
    schedule.changed("a", s(3500));
    assert_eq!(schedule.next(s(3530)), some("a"));
    schedule.begun("a", s(3530));
    schedule.ended("a", Ended::Saved, (s(3531), 0));
    assert_eq!(schedule.next(s(3831)), all("a"));
}

#[test]
fn what_fails_is_tried_again_ever_more_rarely() {
    let mut schedule = begun(&["a"]);
    schedule.changed("a", s(10_000));
    let (mut now, mut waits) = (s(10_030), Vec::new());
    for _ in 0..9 {
        assert!(matches!(schedule.next(now), Next::Run { .. }));
        done(&mut schedule, "a", Ended::Failed, now);
        let Next::Wait(Some(at)) = schedule.next(now) else { panic!("it would not wait") };
        waits.push(at.saturating_sub(now).as_secs());
        now = at;
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]);
    schedule.woke(now);
    assert!(matches!(schedule.next(now + s(15)), Next::Run { .. }));
    done(&mut schedule, "a", Ended::Failed, now);
    schedule.try_again_if(|set| set != "a");
    assert!(matches!(schedule.next(now), Next::Wait(Some(_))), "it is about others");
    schedule.try_again();
    assert!(matches!(schedule.next(now), Next::Run { .. }), "the vault is there again");
    done(&mut schedule, "a", Ended::Saved, now);
    schedule.changed("a", now);
    done(&mut schedule, "a", Ended::Busy, now + s(300));
    assert_eq!(schedule.next(now + s(300)), Next::Wait(Some(now + s(310))));
}

#[test]
fn pauses_end_by_themselves_and_do_not_stand_in_the_way_of_wishes() {
    let mut schedule = begun(&["a"]);
    schedule.changed("a", s(1000));
    schedule.pause(s(5000));
    assert_eq!(schedule.next(s(2000)), Next::Wait(Some(s(5000))));
    schedule.want("a", true, s(2000));
    assert_eq!(schedule.next(s(2000)), wish("a"));
    done(&mut schedule, "a", Ended::Saved, s(2000));
    schedule.changed("a", s(2000));
    assert_eq!(schedule.next(s(4999)), Next::Wait(Some(s(5000))));
    assert_eq!(schedule.next(s(5000)), some("a"));
    schedule.pause(s(9000));
    schedule.resume();
    assert_eq!(schedule.next(s(5000)), some("a"));
    schedule.hold(true);
    assert_eq!(schedule.next(s(5000)), Next::Wait(None));
    schedule.want("a", true, s(5000));
    assert_eq!(schedule.next(s(5000)), wish("a"));
}

#[test]
fn a_command_is_due_by_time_alone() {
    let mut schedule = Schedule::new();
    let pace = Pace { rescan: s(7200), ..Pace::default() };
    schedule.add("dump", (Kind::Timed, pace), (s(0), Some(s(7000))));
    schedule.changed("dump", s(1));
    schedule.lost("dump", s(1));
    schedule.woke(s(1));
    assert_eq!(schedule.next(s(1)), Next::Wait(Some(s(200))));
    assert_eq!(schedule.next(s(200)), all("dump"));
    done(&mut schedule, "dump", Ended::Saved, s(200));
    assert_eq!(schedule.next(s(200)), Next::Wait(Some(s(7400))));
}

#[test]
fn the_spread_is_a_quarter() {
    assert_eq!(spread(s(3600), 0), s(2700));
    assert_eq!(spread(s(3600), HALF), s(3600));
    assert_eq!(spread(s(3600), u32::MAX).as_secs(), 4499);
}

/// Something that happens.
#[derive(Debug, Clone)]
enum Input {
    Changed(usize),
    Again(usize, u64),
    Lost(usize),
    Woke,
    Want(usize),
    Pause(u64),
    Resume,
    Hold(bool),
}

const NAMES: [&str; 2] = ["a", "b"];

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        10 => (0..2_usize).prop_map(Input::Changed),
        1 => (0..2_usize, 0..4000_u64).prop_map(|(n, t)| Input::Again(n, t)),
        1 => (0..2_usize).prop_map(Input::Lost),
        1 => Just(Input::Woke),
        1 => (0..2_usize).prop_map(Input::Want),
        1 => (1..4000_u64).prop_map(Input::Pause),
        1 => Just(Input::Resume),
        1 => any::<bool>().prop_map(Input::Hold),
    ]
}

fn how() -> impl Strategy<Value = Ended> {
    prop_oneof![
        5 => Just(Ended::Saved),
        1 => Just(Ended::Failed),
        1 => Just(Ended::Busy),
        1 => Just(Ended::Stopped),
    ]
}

fn apply(schedule: &mut Schedule, input: &Input, now: At) {
    match input {
        Input::Changed(set) => schedule.changed(NAMES[*set], now),
        Input::Again(set, later) => schedule.changed_again(NAMES[*set], now + s(*later)),
        Input::Lost(set) => schedule.lost(NAMES[*set], now),
        Input::Woke => schedule.woke(now),
        Input::Want(set) => assert!(schedule.want(NAMES[*set], true, now)),
        Input::Pause(time) => schedule.pause(now + s(*time)),
        Input::Resume => schedule.resume(),
        Input::Hold(held) => schedule.hold(*held),
    }
}

/// A run: set, begin, full, wanted.
type Ran = (String, u64, bool, bool);

/// Lives through the inputs, given as seconds since the one before; looks at the schedule either
/// at every second or only when it said so.
fn live(inputs: &[(u64, Input)], ends: &[(u64, Ended, u32)], every_second: bool) -> Vec<Ran> {
    let mut schedule = Schedule::new();
    for set in NAMES {
        schedule.add(set, (Kind::Watched, Pace::default()), (s(0), None));
    }
    let mut todo: Vec<(u64, &Input)> = Vec::new();
    let mut at = 0;
    for (after, input) in inputs {
        at += after;
        todo.push((at, input));
    }
    let last = at + 20_000;
    let (mut todo, mut ends) = (todo.into_iter().peekable(), ends.iter().cycle());
    let mut running: Option<(String, u64, Ended, u32)> = None;
    let (mut now, mut ran) = (0, Vec::new());
    while now < last {
        while let Some((_, input)) = todo.next_if(|(at, _)| *at <= now) {
            apply(&mut schedule, input, s(now));
        }
        if let Some((set, _, how, chance)) = running.take_if(|(_, end, ..)| *end <= now) {
            schedule.ended(&set, how, (s(now), chance));
        }
        let wake = match schedule.next(s(now)) {
            Next::Run { set, full, wanted } => {
                assert!(running.is_none());
                schedule.begun(&set, s(now));
                let (time, how, chance) = ends.next().unwrap();
                ran.push((set.clone(), now, full, wanted));
                running = Some((set, now + time, *how, *chance));
                Some(now + time)
            }
            Next::Wait(Some(at)) => {
                assert!(at > s(now), "a wait that is over");
                // Whole seconds: the next one at which it is due.
                Some(at.as_secs() + u64::from(at.subsec_nanos() > 0))
            }
            Next::Wait(None) => running.as_ref().map(|(_, end, ..)| *end),
        };
        now = if every_second {
            now + 1
        } else {
            let next = todo.peek().map(|(at, _)| *at);
            let end = running.as_ref().map(|(_, end, ..)| *end);
            let next = [next, wake, end].into_iter().flatten().filter(|at| *at > now).min();
            next.unwrap_or(last)
        };
    }
    ran
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn waking_when_told_is_as_good_as_never_sleeping(
        inputs in prop::collection::vec((0..900_u64, input()), 0..40),
        ends in prop::collection::vec((1..400_u64, how(), any::<u32>()), 1..8),
    ) {
        prop_assert_eq!(live(&inputs, &ends, false), live(&inputs, &ends, true));
    }

    #[test]
    fn runs_by_themselves_keep_their_distance(
        inputs in prop::collection::vec((0..900_u64, input()), 0..60),
        length in 1..400_u64,
    ) {
        let ran = live(&inputs, &[(length, Ended::Saved, HALF)], false);
        for set in NAMES {
            let mut end = None;
            for (_, begin, _, wanted) in ran.iter().filter(|run| run.0 == set) {
                prop_assert!(*wanted || end.is_none_or(|end| begin - end >= 300));
                end = Some(begin + length);
            }
        }
    }

    #[test]
    fn every_change_is_saved_in_time(
        changes in prop::collection::vec((0..900_u64, (0..2_usize).prop_map(Input::Changed)), 1..60),
        length in 1..60_u64,
    ) {
        let ran = live(&changes, &[(length, Ended::Saved, HALF)], false);
        let mut at = 0;
        for (after, input) in &changes {
            at += after;
            let Input::Changed(set) = input else { unreachable!() };
            let saved = ran.iter().find(|run| run.0 == NAMES[*set] && run.1 >= at);
            // At worst a run is under way, then the distance, then the other set's run.
            let bound = at + 600 + 300 + 2 * length;
            prop_assert!(saved.is_some_and(|run| run.1 <= bound), "{at} {ran:?}");
        }
    }

    #[test]
    fn failures_lose_nothing(
        inputs in prop::collection::vec((0..900_u64, input()), 0..40),
        fails in 1..6_usize,
    ) {
        let mut ends = vec![(5, Ended::Failed, HALF); fails];
        ends.push((5, Ended::Saved, HALF));
        let calm: Vec<(u64, Input)> = inputs
            .into_iter()
            .filter(|(_, input)| !matches!(input, Input::Hold(_) | Input::Pause(_)))
            .collect();
        let ran = live(&calm, &ends, false);
        let last_change = calm.iter().scan(0, |at, (after, input)| {
            *at += after;
            Some((*at, matches!(input, Input::Changed(_) | Input::Lost(_))))
        });
        if let Some((at, _)) = last_change.filter(|(_, changes)| *changes).last() {
            prop_assert!(ran.iter().any(|run| run.1 >= at));
        }
    }
}
