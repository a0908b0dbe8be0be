//! How the user is told of trouble: on the desktop, by a command, by a message to an address.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam_channel::Sender;
use serde_json::json;
use tokio::runtime::Handle;

use super::super::output::Ui;
use super::desktop::Desktop;
use crate::daemon::alerts::{Alert, Outcome, Told, Way};
use crate::daemon::config::AlertConfig;
use crate::daemon::run::Message;
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
    pub(super) desktop: Desktop,
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
            // Who has another way needs no desktop.
            Way::Desktop => {
                let there = || config.is_alone() || self.desktop.trouble().is_none();
                if config.desktop && there() {
                    self.desktop.show(alert, done);
                } else {
                    done(Outcome::Unwanted);
                }
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
