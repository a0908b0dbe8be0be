//! `backup daemon run`: puts the daemon together on this machine.

use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;
use jiff::tz::TimeZone;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use unseen_manager::Manager;

use super::super::cmd_init::default_kit;
use super::super::context::Context;
use super::super::exit::{CliError, Exit};
use super::super::reading::local_time;
use super::super::vault::{self, SystemClock};
use super::around::Machine;
use super::deliver::Messenger;
use super::desktop::Desktop;
use super::runner::{SetRunner, error_of};
use super::settings::{Place, Settings};
use super::source::{self, Filters};
use crate::daemon::book::Book;
use crate::daemon::control::note;
use crate::daemon::core::{Core, Now};
use crate::daemon::dirty::DirtySets;
use crate::daemon::lock::{self, LockError};
use crate::daemon::run::{Ears, Message, Parts, run as run_daemon};
use crate::daemon::signs::clock::{Clocks, MachineClocks};
use unseen_common::time::Clock;

/// Runs until somebody says stop.
pub(super) fn run(ctx: &Context<'_>) -> Result<Exit, CliError> {
    let setup = ctx.setup()?;
    let key = vault::device_key(&setup)?;
    let lock = lock::take(&setup.places.state)?;
    let enrolled = key.server.clone();
    drop(key);
    let mut own = setup.places.own();
    own.extend(default_kit(ctx, &setup));
    let place = Place { setup, given: ctx.global.vault.clone(), enrolled, own };
    let settings = Arc::new(Mutex::new(Arc::new(Settings::default())));
    let state = &place.setup.places.state;
    let book = Book::read(state);
    let clocks = MachineClocks(SystemClock).read();
    let now = Now { at: clocks.boot, wall: clocks.wall };
    // What is wrong with the configuration is told before anything begins.
    let (_, specs) = place.read()?;
    let known: Vec<_> =
        specs.iter().map(|spec| (spec.name.clone(), spec.roots().to_vec())).collect();
    let marks = DirtySets::open(&state.join("dirty"), &known, now);
    let socket = place.setup.places.own_socket();
    if let Err(error) = note(state, &socket) {
        ctx.ui.warn(&format!("where the daemon listens cannot be noted: {error}"));
    }
    let ears = Ears::new();
    watch_signals(ears.mouth())?;
    let runtime = vault::runtime()?;
    if ctx.env.var("JOURNAL_STREAM").is_none() {
        // Whoever keeps what is said does not keep when.
        ctx.ui.stamp_messages(|| local_time(SystemClock.now()));
    }
    let machine = Machine {
        ui: Arc::clone(ctx.ui),
        place: place.clone(),
        filters: Filters::default(),
        settings: Arc::clone(&settings),
        messenger: Messenger {
            ui: Arc::clone(ctx.ui),
            runtime: runtime.handle().clone(),
            mouth: ears.mouth(),
            desktop: Desktop::of(ctx.env),
        },
        // Whoever cannot be told is done without.
        manager: Manager::from_environment().unwrap_or_default(),
        pulsed: None,
        read: None,
        kept: book.clone(),
        seen: None,
    };
    let filters = Arc::clone(&machine.filters);
    let parts = Parts {
        core: Core::new(Box::new(marks), book, now).in_zone(TimeZone::system()),
        runner: Arc::new(SetRunner { ui: Arc::clone(ctx.ui), place, settings, runtime }),
        source: source::make(filters),
        clocks: Arc::new(MachineClocks(SystemClock)),
        chance: || getrandom::u32().unwrap_or(u32::MAX / 2),
        around: Box::new(machine),
        socket,
    };
    let result = run_daemon(parts, &ears);
    drop(lock);
    result.map_err(error_of)?;
    Ok(Exit::Done)
}

/// The first signal to end is an orderly one; with the second, the loop does not wait.
fn watch_signals(mouth: Sender<Message>) -> Result<(), CliError> {
    let failed = |error| CliError::new(Exit::Failed, "cannot watch for signals").because(error);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let listen = move || {
        for signal in &mut signals {
            let message = if signal == SIGHUP { Message::Reload } else { Message::Stop };
            if mouth.send(message).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(listen).map(drop).map_err(failed)
}

impl From<LockError> for CliError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Taken => Self::from_error(Exit::Busy, error)
                .hint("`backup daemon status` shows what it does"),
            error @ LockError::Io { .. } => Self::from_error(Exit::Failed, error),
        }
    }
}
