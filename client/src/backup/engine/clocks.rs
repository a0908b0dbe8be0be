//! Clocks that are wrong: this machine's, the server's, and the one that stamped the log.

use std::fs;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;

use unseen_common::id::SnapshotId;
use unseen_common::log::entry::Body;
use unseen_common::log::policy::{DEFAULT_POLICY, KeepRules, Policy};
use unseen_common::time::{Clock as _, SECONDS_A_DAY, Timestamp};

use super::super::BackupError;
use super::{Outcome, Source, StreamSource};
use crate::repo::RepoError;
use crate::repo::clocks::{Clocks, ClocksApart};
use crate::testing::{Machine, ServerClock, SetClock, World, options};
use crate::tree::entry::{Meta, Name};

const TEN_YEARS: u64 = 10 * 365 * SECONDS_A_DAY;
const AHEAD: i64 = TEN_YEARS.cast_signed();

struct Scene {
    world: World,
    desk: Machine,
    folder: PathBuf,
    runs: u32,
}

impl Scene {
    fn new() -> Self {
        let (world, desk) = World::new();
        let folder = world.folder("files");
        Self { world, desk, folder, runs: 0 }
    }

    /// Backs up something new.
    fn run(&mut self) -> Result<Outcome, BackupError> {
        self.runs += 1;
        fs::write(self.folder.join(format!("file {}", self.runs)), self.runs.to_string()).unwrap();
        let source = Source::Paths(vec![self.folder.clone()]);
        self.catch_up();
        self.world.try_run(&mut self.desk, &options("default"), source)
    }

    /// The same; tells what is wrong with the clocks, and how the snapshot is stamped.
    fn saved(&mut self) -> (Option<String>, Timestamp) {
        let outcome = self.run().unwrap();
        let state = &self.desk.repo.log.state;
        (outcome.clocks, state.snapshots[&outcome.snapshot.unwrap()].received)
    }

    /// Nothing is sent and nothing is left behind; tells the two clocks.
    fn refused(&mut self) -> (Timestamp, Timestamp) {
        let before = self.head();
        let refused = self.run().unwrap_err();
        let BackupError::Repo(RepoError::Clocks(ClocksApart(Clocks { server, own, .. }))) = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!(self.head(), before);
        assert!(!self.desk.repo.folders.pending_commit().exists());
        (server, own)
    }

    /// Takes the log anew, as everything does that opens the vault.
    fn catch_up(&mut self) {
        let vault = &*self.desk.repo.vault;
        self.world.runtime.block_on(self.desk.repo.log.update(vault)).unwrap();
    }

    fn head(&self) -> (u64, u64) {
        self.world.runtime.block_on(async {
            let vault = &self.desk.repo.vault;
            let records = vault.log(None).await.unwrap().records.len() as u64;
            (records, vault.live_packs().await.unwrap().0.len())
        })
    }

    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    fn set(&self, policy: Policy) {
        self.world.append(Body::Policy(policy));
    }
}

#[test]
fn six_minutes_are_told_and_four_are_not() {
    let mut scene = Scene::new();
    for (off, told) in [(240, false), (-240, false), (300, false), (360, true), (-360, true)] {
        scene.world.server_clock.off_by(off);
        let (trouble, _) = scene.saved();
        assert_eq!(trouble.is_some(), told, "{off}: {trouble:?}");
        if let Some(trouble) = trouble {
            assert!(trouble.contains("6 minutes"), "{trouble}");
        }
    }
    scene.world.server_clock.off_by(0);
    assert_eq!(scene.saved().0, None);
}

#[test]
fn a_machine_whose_clock_is_ten_years_off_stamps_nothing_until_it_is_right() {
    for wrong in [AHEAD, -AHEAD] {
        let mut scene = Scene::new();
        scene.saved();
        let right = scene.now();
        scene.world.clock.set(Timestamp(right.0.saturating_add_signed(wrong)));
        scene.world.server_clock.off_by(-wrong);
        assert_eq!(scene.refused(), (right, scene.now()));
        // To look at what would be done is allowed, and says so.
        let dry = super::RunOptions { dry_run: true, ..options("default") };
        let source = Source::Paths(vec![scene.folder.clone()]);
        let looked = scene.world.try_run(&mut scene.desk, &dry, source).unwrap();
        assert!(looked.clocks.unwrap().contains("3650 days"));
        scene.world.clock.set(right);
        scene.world.server_clock.off_by(0);
        assert_eq!(scene.saved(), (None, right));
    }
}

/// The server holds its clock for wrong: it stamps by what it knows, and backups go on.
#[test]
fn a_server_that_is_ten_years_ahead_is_told_of_by_itself_and_backups_go_on() {
    let mut scene = Scene::new();
    scene.saved();
    scene.set(Policy { grace_days: 2, ..DEFAULT_POLICY });
    scene.world.core.sweep(scene.now()).unwrap();
    scene.world.clock.advance(3600);
    scene.world.server_clock.off_by(AHEAD);
    assert_eq!(scene.saved(), (None, scene.now()));
    assert!(scene.world.core.sweep(scene.world.server_clock.now()).unwrap().held.is_some());
    scene.world.clock.advance(3600);
    assert_eq!(scene.saved(), (None, scene.now()));
    assert_eq!(scene.desk.repo.log.state.policy.grace_days, DEFAULT_POLICY.grace_days);
    scene.world.server_clock.off_by(0);
    scene.world.clock.advance(3600);
    assert_eq!(scene.saved(), (None, scene.now()));
}

#[test]
fn a_server_that_is_ten_years_behind_gets_no_snapshot_until_it_is_right() {
    let mut scene = Scene::new();
    scene.saved();
    scene.world.clock.advance(3600);
    scene.world.server_clock.off_by(-AHEAD);
    let (server, own) = scene.refused();
    assert_eq!(own.since(server), TEN_YEARS);
    scene.world.server_clock.off_by(0);
    assert_eq!(scene.saved(), (None, scene.now()));
}

/// Whoever runs the server said that a wrong clock is right, and an older client wrote. When it is
/// put right, stamps stand still, and backups go on.
#[test]
fn a_log_that_is_stamped_ahead_is_told_of_and_stops_no_backup() {
    let mut scene = Scene::new();
    let rules = KeepRules { daily: 2, ..KeepRules::NONE };
    scene.set(Policy { keep: rules, ..DEFAULT_POLICY });
    let mut snapshots: Vec<SnapshotId> = vec![scene.run().unwrap().snapshot.unwrap()];
    scene.world.core.sweep(scene.now()).unwrap();
    scene.world.server_clock.off_by(AHEAD);
    scene.world.core.gc(true).unwrap();
    scene.refused();
    let stamp = scene.world.server_clock.now();
    scene.set(Policy { keep: rules, silent_days: 3, ..DEFAULT_POLICY });
    scene.world.server_clock.off_by(0);
    scene.world.core.gc(true).unwrap();
    for _ in 0..30 {
        scene.world.clock.advance(SECONDS_A_DAY);
        let outcome = scene.run().unwrap();
        let told = outcome.clocks.unwrap();
        assert!(told.contains(&format!("is stamped {stamp}")), "{told}");
        snapshots.push(outcome.snapshot.unwrap());
        let swept = scene.world.core.sweep(scene.now()).unwrap();
        assert_eq!((swept.held, swept.expired), (None, 0));
    }
    let state = &scene.desk.repo.log.state;
    assert_eq!(state.snapshots.len(), snapshots.len());
    assert!(snapshots[1..].iter().all(|id| state.snapshots[id].received == stamp));

    // The day comes: they are of one day, and stay as long as it does.
    scene.world.clock.advance(stamp.since(scene.now()));
    for day in 0..3 {
        scene.world.clock.advance(SECONDS_A_DAY);
        assert_eq!(scene.saved(), (None, scene.now()));
        scene.world.clock.advance(3600);
        scene.world.core.gc(true).unwrap();
        scene.catch_up();
        let state = &scene.desk.repo.log.state;
        let left = snapshots.iter().filter(|id| state.snapshots.contains_key(*id)).count();
        assert_eq!(left, if day == 0 { 30 } else { 0 }, "{day}");
    }
}

/// Sets the machine's clock ten years ahead when it is read. The server's stays.
struct Setting {
    clock: Arc<SetClock>,
    server: Arc<ServerClock>,
    right: Timestamp,
    bytes: Cursor<Vec<u8>>,
}

impl Read for Setting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.clock.set(Timestamp(self.right.0 + TEN_YEARS));
        self.server.off_by(-AHEAD);
        self.bytes.read(buffer)
    }
}

#[test]
fn a_clock_that_is_set_while_a_backup_runs_delays_its_commit() {
    let mut scene = Scene::new();
    let right = scene.now();
    let stream = StreamSource {
        name: Name::new(b"dump").unwrap(),
        source: Box::new(Setting {
            clock: Arc::clone(&scene.world.clock),
            server: Arc::clone(&scene.world.server_clock),
            right,
            bytes: Cursor::new(vec![7; 1 << 20]),
        }),
        meta: Meta::default(),
    };
    let before = scene.head();
    let ended =
        scene.world.try_run(&mut scene.desk, &options("dump"), Source::Stream(Some(stream)));
    assert!(matches!(ended, Err(BackupError::Repo(RepoError::Clocks(_)))), "{ended:?}");
    assert_eq!(scene.head().0, before.0);
    assert!(scene.desk.repo.folders.pending_commit().exists());

    scene.world.clock.set(right);
    scene.world.server_clock.off_by(0);
    scene.saved();
    assert_eq!(scene.head().0, before.0 + 2, "what was begun is committed first");
}
