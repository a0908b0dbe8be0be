//! A server for tests that deletes when it is told to, as if that were a month later: every pack
//! that nothing needs has outlived its grace then. Stamps are true all the same.
//!
//! `unseen-test-eager-server DATA ADDR:PORT`, then lines of standard input; for each a line is
//! printed: packs that were deleted, and accounts in which that went wrong.

use std::io::{BufRead, stdin};
use std::path::Path;
use std::sync::Arc;

use unseen_common::time::{Clock, Timestamp};
use unseen_server::clock::SystemClock;
use unseen_server::http::{Server, ServerOptions, tls};
use unseen_server::vault::{Core, Options};

/// Longer than the grace of a vault that has no policy.
const DAYS: u32 = 31;

#[derive(Debug)]
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_days(DAYS)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, data, listen] = arguments.as_slice() else {
        panic!("DATA ADDR:PORT");
    };
    let data = Path::new(data);
    // The clock went forward by so much, and somebody says that this is right.
    let ahead = Options { clock: Arc::new(Ahead), ..Options::default() };
    Core::open(data, ahead).unwrap().gc(true).unwrap();
    let core = Core::open(data, Options::default()).unwrap();
    let (certificate, key) = tls::own(data).unwrap();
    let options = ServerOptions::new(
        listen.parse::<std::net::SocketAddr>().unwrap(),
        Some(certificate.config(&key).unwrap()),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::bind(core.clone(), options)).unwrap();
    println!("listening on https://{}", server.address());
    std::thread::spawn(move || obey(&core));
    runtime.block_on(server.run(std::future::pending())).unwrap();
}

fn obey(core: &Core) {
    // What was found not to be due is not looked at again for a day, and a clock that jumps by
    // more than a day stops everything: two steps that are more than a day together.
    let mut later = Ahead.now();
    for line in stdin().lock().lines() {
        let (mut packs, mut failed) = (0, 0);
        for _ in 0..2 {
            later = Timestamp(later.0 + 13 * 3600).max(Ahead.now());
            match (&line, core.sweep(later)) {
                (Ok(_), Ok(swept)) if swept.held.is_none() => {
                    packs += swept.packs;
                    failed += swept.failed;
                }
                failed => {
                    eprintln!("{failed:?}");
                    std::process::exit(1);
                }
            }
        }
        println!("{packs} {failed}");
    }
    std::process::exit(0);
}
