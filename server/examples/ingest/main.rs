//! How fast and in how much memory a server takes packs.
//!
//!     cargo build --release -p unseen-server
//!     cargo run --release -p unseen-server --features testkit --example ingest -- BACKUP-SERVER [FOLDER]
//!
//! One client sends packs of 16 MiB over loopback TLS, in turn to the server and to a bare handler
//! that hashes each body and makes a file of it durable. Then a hundred accounts upload at once. The
//! files, up to 5 GiB, go into a temporary folder within FOLDER.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report is all it is for")]

mod bare;
mod client;
mod process;

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use unseen_common::vault::PackUpload;
use unseen_server::testkit::{Machine, Owner};

use client::{Account, Target};
use process::Process;

const PACK: usize = 16 << 20;
/// As many as the client program has.
const UPLOADERS: usize = 3;
const ROUNDS: u64 = 7;
const PACKS: u64 = 24;
const CROWD: u64 = 100;
const EACH: u64 = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bare", folder] => bare::serve(Path::new(folder)),
        [server] => measure(Path::new(server), &std::env::temp_dir()),
        [server, folder] => measure(Path::new(server), Path::new(folder)),
        _ => {
            eprintln!("usage: ingest BACKUP-SERVER [FOLDER]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn measure(server: &Path, folder: &Path) {
    in_turn(server, folder);
    crowd(server, folder);
}

fn in_turn(server: &Path, folder: &Path) {
    let scratch = tempfile::tempdir_in(folder).expect("a temporary folder");
    let real = Process::server(server, &scratch.path().join("server"));
    let bare = Process::bare(&scratch.path().join("bare"));
    let account = Account::make(&real.target(), server, &real.data, 1);
    let nobody = Account::nobody();
    println!("{PACKS} packs of 16 MiB a round, {UPLOADERS} connections; MB/s (CPU s/GB)");
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let packs = packs(&Owner::new(1).machine, round * PACKS, PACKS);
        // Who comes first changes: the disk remembers.
        let (mut ours, mut theirs) = (None, None);
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                ours = Some(Run::of(&real, &account, &packs));
            } else {
                theirs = Some(Run::of(&bare, &nobody, &packs));
            }
        }
        let (ours, theirs) = (ours.expect("it had its turn"), theirs.expect("it had its turn"));
        bare::forget(&bare.data);
        println!("server {ours}   bare {theirs}   {:.0} %", ours.ratio(&theirs));
        ratios.push((ours.ratio(&theirs), 100.0 * theirs.cpu / ours.cpu));
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let median = ratios[ratios.len() / 2].0;
    ratios.sort_by(|a, b| a.1.total_cmp(&b.1));
    println!(
        "median: {median:.0} % of the bare handler; by CPU {:.0} %",
        ratios[ratios.len() / 2].1
    );
    println!("peak memory: server {} MB, bare {} MB", real.peak_mb(), bare.peak_mb());
}

fn packs(machine: &Machine, from: u64, count: u64) -> Vec<PackUpload> {
    (from..from + count).map(|seed| machine.pack(seed, PACK, 4096)).collect()
}

/// What taking some packs cost.
struct Run {
    bytes: f64,
    wall: f64,
    cpu: f64,
}

impl Run {
    fn of(process: &Process, account: &Account, packs: &[PackUpload]) -> Self {
        let target = process.target();
        let mut clients: Vec<_> = (0..UPLOADERS).map(|_| target.connect(1)).collect();
        let (cpu, began) = (process.cpu(), Instant::now());
        thread::scope(|scope| {
            for (place, client) in clients.iter_mut().enumerate() {
                scope.spawn(move || {
                    for pack in packs.iter().skip(place).step_by(UPLOADERS) {
                        assert_eq!(client.upload(account, pack), 0, "it was asked to wait");
                    }
                });
            }
        });
        let bytes = packs.iter().map(|pack| pack.bytes.len()).sum::<usize>();
        Self {
            bytes: float(bytes) / 1e6,
            wall: began.elapsed().as_secs_f64(),
            cpu: process.cpu().saturating_sub(cpu).as_secs_f64(),
        }
    }

    /// Speed in per cent of the other's.
    fn ratio(&self, other: &Self) -> f64 {
        100.0 * other.wall / self.wall
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:4.0} ({:.2})", self.bytes / self.wall, self.cpu * 1e3 / self.bytes)
    }
}

fn crowd(server: &Path, folder: &Path) {
    let scratch = tempfile::tempdir_in(folder).expect("a temporary folder");
    let real = Process::server(server, &scratch.path().join("server"));
    let target = &real.target();
    let accounts: Vec<(u64, Account)> =
        (1..=CROWD).map(|n| (n, Account::make(target, server, &real.data, n))).collect();
    let began = Instant::now();
    let waits: u32 = thread::scope(|scope| {
        let running: Vec<_> = accounts
            .iter()
            .map(|(n, account)| scope.spawn(|| uploads(target, account, *n)))
            .collect();
        running.into_iter().map(|thread| thread.join().expect("no client fails")).sum()
    });
    let wall = began.elapsed();
    // What was acknowledged is there.
    for (n, account) in &accounts {
        assert_eq!(target.connect(*n).live(account), EACH, "account {n}");
    }
    let sent = CROWD * EACH;
    println!(
        "{CROWD} clients at once, {EACH} packs of 16 MiB each: {sent} acknowledged, all there"
    );
    println!(
        "{:.0} s; asked to wait {waits} times; peak memory {} MB",
        seconds(wall),
        real.peak_mb()
    );
}

/// The packs of one of many; how often it was asked to wait.
fn uploads(target: &Target, account: &Account, n: u64) -> u32 {
    let machine = Owner::new(n).machine;
    let mut client = target.connect(n);
    (0..EACH).map(|seed| client.upload(account, &machine.pack(seed, PACK, 4096))).sum()
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn float(bytes: usize) -> f64 {
    bytes as f64
}
