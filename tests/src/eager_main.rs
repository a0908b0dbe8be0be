//! A server for tests that deletes when it is told to, as if that were a month later: every pack
//! that nothing needs has outlived its grace then. Stamps are true all the same.
//!
//! `unseen-test-eager-server DATA ADDR:PORT`, then commands on standard input, one a line:
//!
//! - `sweep` deletes as if a month had passed;
//! - `tidy` expires and deletes what is due by now;
//! - `stamp SECONDS` has everything stamped so much ahead of the true time from now on.
//!
//! For each a line is printed: snapshots that expired, packs that were deleted, and accounts in
//! which something went wrong.

use std::io::{BufRead, stdin};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use unseen_common::time::{Clock, Timestamp};
use unseen_server::clock::SystemClock;
use unseen_server::http::{Server, ServerOptions, tls};
use unseen_server::store::space::{DiskLimits, FolderSpace};
use unseen_server::vault::{Core, Options, Swept};

/// Longer than the grace of a vault that has no policy.
const MONTH: u64 = 31 * 86_400;

/// The true time, and so many seconds more.
#[derive(Debug, Default)]
struct Ahead(AtomicU64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0.load(Ordering::Relaxed))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, data, listen] = arguments.as_slice() else {
        panic!("DATA ADDR:PORT");
    };
    let data = Path::new(data);
    // The clock went forward by so much, and somebody says that this is right.
    let ahead = Options { clock: Arc::new(Ahead(AtomicU64::new(MONTH))), ..Options::default() };
    open(data, ahead).gc(true).unwrap();
    let stamps = Arc::new(Ahead::default());
    let clock: Arc<Ahead> = Arc::clone(&stamps);
    let core = open(data, Options { clock, ..Options::default() });
    let (certificate, key) = tls::own(data).unwrap();
    let options = ServerOptions::new(
        listen.parse::<std::net::SocketAddr>().unwrap(),
        Some(certificate.config(&key).unwrap()),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::bind(core.clone(), options)).unwrap();
    println!("listening on https://{}", server.address());
    std::thread::spawn(move || obey(&core, &stamps));
    runtime.block_on(server.run(std::future::pending())).unwrap();
}

/// With a reserve, as every server has one.
fn open(data: &Path, options: Options) -> Core {
    let core = Core::open(data, options).unwrap();
    core.disk().watch(Box::new(FolderSpace::new(data)), DiskLimits::default());
    core
}

fn obey(core: &Core, stamps: &Ahead) {
    let month_ahead = || Timestamp(SystemClock.now().0 + MONTH);
    let mut later = month_ahead();
    for line in stdin().lock().lines() {
        let line = line.unwrap();
        let mut done = Swept::default();
        match line.split_once(' ').unwrap_or((&line, "")) {
            // What was found not to be due is not looked at again for a day, and a clock that jumps
            // by more than a day stops everything: two steps that are more than a day together.
            ("sweep", "") => {
                for _ in 0..2 {
                    later = Timestamp(later.0 + 13 * 3600).max(month_ahead());
                    sweep(core, later, &mut done);
                }
            }
            ("tidy", "") => sweep(core, stamps.now(), &mut done),
            ("stamp", seconds) => stamps.0.store(seconds.parse().unwrap(), Ordering::Relaxed),
            _ => panic!("no command: {line}"),
        }
        println!("{} {} {}", done.expired, done.packs, done.failed);
    }
    std::process::exit(0);
}

fn sweep(core: &Core, at: Timestamp, done: &mut Swept) {
    match core.sweep(at) {
        Ok(swept) if swept.held.is_none() => {
            done.expired += swept.expired;
            done.packs += swept.packs;
            done.failed += swept.failed;
        }
        failed => {
            eprintln!("{failed:?}");
            std::process::exit(1);
        }
    }
}
