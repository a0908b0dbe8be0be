//! How the user is told of trouble: on the desktop, by a command, by a message to an address.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam_channel::Sender;
use serde_json::json;
use tokio::runtime::Handle;

use super::super::output::Ui;
use crate::daemon::alerts::{Alert, Outcome, Told, Way};
use crate::daemon::config::AlertConfig;
use crate::daemon::run::Message;
use crate::sets::command::for_others;
use crate::sets::hooks;

/// How long an address may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Tells the user, and the daemon how that went.
#[derive(Debug)]
pub(super) struct Messenger {
    pub(super) ui: Arc<Ui>,
    pub(super) runtime: Handle,
    pub(super) mouth: Sender<Message>,
}

impl Messenger {
    /// Tells the user in one way, if that is configured. Nothing is waited for.
    pub(super) fn tell(&self, config: &AlertConfig, alert: &Alert, way: Way) {
        let mouth = self.mouth.clone();
        let (key, state) = (alert.key.clone(), alert.state.clone());
        let done = move |outcome| {
            // It fails when the daemon has ended.
            mouth.send(Message::Told(Told { key, state, way, outcome })).ok();
        };
        match way {
            Way::Desktop => {
                if config.desktop {
                    show(desktop(alert));
                }
                done(Outcome::Told);
            }
            Way::Command => match config.command.clone() {
                Some(line) => self.command(line, alert, done),
                None => done(Outcome::Unwanted),
            },
            Way::Webhook => match config.webhook.clone() {
                Some(address) => self.post(address, alert, done),
                None => done(Outcome::Unwanted),
            },
        }
    }

    fn command(
        &self,
        line: String,
        alert: &Alert,
        done: impl FnOnce(Outcome) + Clone + Send + 'static,
    ) {
        let no_thread = done.clone();
        let (ui, environment) = (Arc::clone(&self.ui), environment(alert));
        let work = move || {
            let say = |text: &str| ui.status(&format!("the command of [daemon.alerts]: {text}"));
            let never = AtomicBool::new(false);
            let ended = hooks::shell(&line, LIMIT, &environment, (&never, &say));
            // The command itself may hold a secret: it is not shown.
            done(ended.map_or_else(|error| Outcome::Failed(error.how()), |()| Outcome::Told));
        };
        let thread = std::thread::Builder::new().name("alert".to_owned());
        if let Err(error) = thread.spawn(work) {
            no_thread(Outcome::Failed(format!("cannot start a thread: {error}")));
        }
    }

    fn post(&self, address: String, alert: &Alert, done: impl FnOnce(Outcome) + Send + 'static) {
        let alert = alert.clone();
        self.runtime.spawn(async move {
            done(match post(&address, &alert).await {
                Ok(()) => Outcome::Told,
                // The address may hold a secret: it is not shown.
                Err(error) => Outcome::Failed(crate::progress::in_words(&error.without_url())),
            });
        });
    }
}

fn environment(alert: &Alert) -> Vec<(String, OsString)> {
    let pairs = [("", &alert.text), ("_HINT", &alert.hint), ("_KEY", &alert.key)];
    pairs.map(|(name, value)| (format!("UNSEEN_ALERT{name}"), value.into())).into()
}

async fn post(address: &str, alert: &Alert) -> Result<(), reqwest::Error> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let body = json!({"key": alert.key, "text": alert.text, "hint": alert.hint});
    client.post(address).json(&body).send().await?.error_for_status()?;
    Ok(())
}

#[cfg(target_os = "macos")]
fn desktop(alert: &Alert) -> Command {
    let mut command = Command::new("osascript");
    let script =
        "on run argv\ndisplay notification (item 1 of argv) with title \"Backup\"\nend run";
    command.args(["-e", script, &alert.text]);
    command
}

#[cfg(not(target_os = "macos"))]
fn desktop(alert: &Alert) -> Command {
    let mut command = Command::new("notify-send");
    let text = format!("{}\n{}", alert.text, alert.hint);
    command.args(["--app-name=Unseen", "--urgency=critical", "--", "Backup", &text]);
    command
}

/// Starts what shows a notification; a thread of its own waits for it. Many machines have no
/// desktop, so that it fails is no news.
fn show(mut command: Command) {
    for_others(&mut command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(mut child) = command.spawn() {
        let thread = std::thread::Builder::new().name("alert".to_owned());
        drop(thread.spawn(move || child.wait()));
    }
}
