//! The status page: HTML, no script, nothing from elsewhere.

use std::fmt::Write;

use unseen_common::time::Timestamp;

use super::listener::Sight;
use super::machine::Disk;
use super::metrics::{Job, JobState, Metrics};
use crate::vault::amount;
use crate::vault::survey::{AccountSurvey, Damage, Survey};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--bad:light-dark(#b3261e,#ff8a80);\
--good:light-dark(#1b6e34,#7bd88f);--dim:light-dark(#666,#999)}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}\
p{margin:.25rem 0}.dim{color:var(--dim)}.bad{color:var(--bad);font-weight:600}\
.good{color:var(--good);font-weight:600}meter{width:12rem;vertical-align:middle}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{text-align:right;padding:.35rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap}\
th:first-child,td:first-child,.left{text-align:left}th{font-weight:600;color:var(--dim)}\
td{font-variant-numeric:tabular-nums}code{font-size:.95em}";

/// The whole page.
pub(super) fn render(sight: &Sight, metrics: &Metrics) -> String {
    let mut page = String::new();
    page += "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
    page += "<meta name=\"viewport\" content=\"width=device-width\">\n";
    page += "<meta http-equiv=\"refresh\" content=\"60\">\n";
    page += "<link rel=\"icon\" href=\"data:,\">\n";
    page += "<title>Unseen server</title>\n<style>";
    page += STYLE;
    page += "</style>\n</head>\n<body>\n";
    head(&mut page, sight);
    disk(&mut page, sight.disk);
    match &sight.survey {
        Some(survey) => {
            accounts(&mut page, survey, sight.now);
            silent(&mut page, survey, sight.now);
            damage(&mut page, survey);
        }
        None => page += "<p class=\"bad\">The accounts cannot be listed.</p>\n",
    }
    jobs(&mut page, metrics, sight.now);
    page += "</body>\n</html>\n";
    page
}

fn head(page: &mut String, sight: &Sight) {
    page.push_str("<h1>Unseen server</h1>\n");
    if sight.troubles.is_empty() {
        page.push_str("<p class=\"good\">Ready.</p>\n");
    }
    for trouble in &sight.troubles {
        put(page, format_args!("<p class=\"bad\">Not ready: {}.</p>\n", escape(trouble)));
    }
    if let Some(held) = sight.held {
        put(page, format_args!("<p class=\"bad\">{}.</p>\n", escape(&capital(&held.words()))));
    }
    if sight.survey.as_ref().is_some_and(is_damaged) {
        page.push_str("<p class=\"bad\">Something is damaged: see below.</p>\n");
    }
    let version = env!("CARGO_PKG_VERSION");
    put(
        page,
        format_args!(
            "<p class=\"dim\">Version {version}. Accounts and devices are shown by \
        the first digits of their ids; the server knows no names.</p>\n"
        ),
    );
}

fn disk(page: &mut String, disk: Option<Disk>) {
    page.push_str("<h2>Disk</h2>\n");
    let Some(Disk { free, size }) = disk else {
        page.push_str("<p class=\"bad\">The data folder cannot be looked at.</p>\n");
        return;
    };
    let used = size.saturating_sub(free);
    let high = size / 10 * 9;
    put(
        page,
        format_args!(
            "<p><meter min=\"0\" max=\"{size}\" high=\"{high}\" optimum=\"0\" value=\"{used}\">\
             </meter> {} free of {}</p>\n",
            amount(free),
            amount(size)
        ),
    );
}

fn accounts(page: &mut String, survey: &Survey, now: Timestamp) {
    page.push_str("<h2>Accounts</h2>\n");
    if survey.closed > 0 {
        let closed = survey.closed;
        put(
            page,
            format_args!(
                "<p class=\"bad\">{closed} not open: still being read, or out of reach; \
            the log says which.</p>\n"
            ),
        );
    }
    if survey.accounts.is_empty() && survey.unreadable.is_empty() {
        page.push_str(
            "<p class=\"dim\">None. <code>backup-server invite</code> makes an invite.</p>\n",
        );
        return;
    }
    if survey.accounts.is_empty() {
        return;
    }
    page.push_str(
        "<div class=\"wide\"><table>\n<tr><th>account<th>devices<th>snapshots<th>packs\
        <th>stored<th>quota<th>last backup<th class=\"left\">state</tr>\n",
    );
    for account in &survey.accounts {
        row(page, account, now);
    }
    page.push_str("</table></div>\n");
}

fn row(page: &mut String, account: &AccountSurvey, now: Timestamp) {
    let quota = account.quota.map_or_else(|| "none".to_owned(), amount);
    let tight = account.quota.is_some_and(|quota| account.bytes > quota / 10 * 9);
    let late = account.newest().is_none() || account.silent(now).next().is_some();
    put(
        page,
        format_args!(
            "<tr><td><code>{}</code><td>{}<td>{}<td>{}<td{}>{}<td>{quota}<td{}>{}\
             <td class=\"left\">{}</tr>\n",
            account.id.short(),
            account.devices.len(),
            account.snapshots,
            account.packs,
            class(tight),
            amount(account.bytes),
            class(late),
            ago(account.newest(), now),
            state(account, now),
        ),
    );
}

/// What is unusual about an account.
fn state(account: &AccountSurvey, now: Timestamp) -> String {
    match (account.erase_due, account.suspended) {
        (Some(due), _) => format!("erased by its owner {}", ahead(due, now)),
        (None, Some(since)) => format!("suspended {}", ago(Some(since), now)),
        (None, None) => String::new(),
    }
}

fn silent(page: &mut String, survey: &Survey, now: Timestamp) {
    let quiet: Vec<_> = survey
        .accounts
        .iter()
        .flat_map(|account| account.silent(now).map(|device| (account.id.short(), device)))
        .collect();
    if quiet.is_empty() {
        return;
    }
    page.push_str("<h2>Silent devices</h2>\n<div class=\"wide\"><table>\n");
    page.push_str("<tr><th>device<th class=\"left\">account<th>last backup</tr>\n");
    for (account, device) in quiet {
        let (id, last) = (device.id.short(), ago(device.newest, now));
        put(
            page,
            format_args!(
                "<tr><td><code>{id}</code><td class=\"left\"><code>{account}</code>\
            <td class=\"bad\">{last}</tr>\n"
            ),
        );
    }
    page.push_str("</table></div>\n");
}

fn is_damaged(survey: &Survey) -> bool {
    !survey.unreadable.is_empty() || survey.accounts.iter().any(|one| one.damage.is_there())
}

fn damage(page: &mut String, survey: &Survey) {
    if !is_damaged(survey) {
        return;
    }
    let damaged = survey.accounts.iter().filter(|one| one.damage.is_there());
    page.push_str("<h2>Damage</h2>\n<div class=\"wide\"><table>\n");
    page.push_str("<tr><th>account<th>packs<th>manifests, lists, slots<th>journal</tr>\n");
    for account in damaged {
        let Damage { packs, lost, journal } = account.damage;
        let told = if journal { "damaged or gone" } else { "whole" };
        put(
            page,
            format_args!(
                "<tr><td><code>{}</code><td{}>{packs}<td{}>{lost}<td{}>{told}</tr>\n",
                account.id.short(),
                class(packs > 0),
                class(lost > 0),
                class(journal),
            ),
        );
    }
    for id in &survey.unreadable {
        let id = id.short();
        put(
            page,
            format_args!(
                "<tr><td><code>{id}</code><td>?<td>?<td class=\"bad\">damaged or gone: \
                 nothing can be read</tr>\n"
            ),
        );
    }
    page.push_str(
        "</table></div>\n<p class=\"dim\"><code>backup-server scrub</code> tells more; \
         <code>backup-server rebuild</code> makes journals anew.</p>\n",
    );
}

fn jobs(page: &mut String, metrics: &Metrics, now: Timestamp) {
    page.push_str("<h2>Jobs</h2>\n<div class=\"wide\"><table>\n");
    page.push_str(
        "<tr><th>job<th class=\"left\">now<th>last success<th>failures\
        <th class=\"left\">found<th class=\"left\">trouble</tr>\n",
    );
    for job in Job::ALL {
        let JobState { running, succeeded, failures, found, trouble } = metrics.job(job);
        let running = if running { "running" } else { "" };
        put(
            page,
            format_args!(
                "<tr><td>{}<td class=\"left\">{running}<td>{}<td{}>{failures}\
                 <td class=\"left\">{}<td class=\"left{}\">{}</tr>\n",
                job.name(),
                ago(succeeded, now),
                class(!trouble.is_empty()),
                escape(&found),
                if trouble.is_empty() { "" } else { " bad" },
                escape(&trouble),
            ),
        );
    }
    page.push_str("</table></div>\n");
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("writing to memory cannot fail");
}

const fn class(bad: bool) -> &'static str {
    if bad { " class=\"bad\"" } else { "" }
}

/// Text that HTML takes as text.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            c => safe.push(c),
        }
    }
    safe
}

/// How long ago, in the largest unit that fits.
pub(super) fn ago(when: Option<Timestamp>, now: Timestamp) -> String {
    let Some(when) = when else {
        return "never".to_owned();
    };
    span(now.since(when)).map_or_else(|| "just now".to_owned(), |span| format!("{span} ago"))
}

/// How long until then.
fn ahead(when: Timestamp, now: Timestamp) -> String {
    span(when.since(now)).map_or_else(|| "now".to_owned(), |span| format!("in {span}"))
}

fn span(seconds: u64) -> Option<String> {
    let (number, unit) = match seconds {
        0..60 => return None,
        60..3600 => (seconds / 60, "min"),
        3600..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    Some(format!("{number} {unit}"))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Held;
    use crate::vault::survey::DeviceSurvey;
    use unseen_common::id::{DeviceId, VaultId};

    #[test]
    fn ages_are_for_people() {
        let now = Timestamp(1_000_000);
        let text = |seconds: u64| ago(Some(Timestamp(now.0 - seconds)), now);
        assert_eq!(text(59), "just now");
        assert_eq!(text(3599), "59 min ago");
        assert_eq!(text(172_799), "47 h ago");
        assert_eq!(text(172_800), "2 days ago");
        assert_eq!(ago(None, now), "never");
        assert_eq!(ago(Some(Timestamp(now.0 + 5)), now), "just now");
        assert_eq!(ahead(Timestamp(now.0 + 7200), now), "in 2 h");
        assert_eq!(ahead(Timestamp(now.0 - 7200), now), "now");
    }

    fn sight(survey: Option<Survey>, troubles: Vec<&'static str>) -> Sight {
        Sight { now: Timestamp(10_000_000), survey, disk: None, held: None, troubles }
    }

    #[test]
    fn the_page_shows_what_matters_and_escapes() {
        let device = |byte, newest| DeviceSurvey { id: DeviceId::from_bytes([byte; 16]), newest };
        let account = AccountSurvey {
            id: VaultId::from_bytes([0xab; 16]),
            packs: 3,
            bytes: 9_500 << 10,
            quota: Some(10_000 << 10),
            records: 7,
            snapshots: 2,
            silent_days: 7,
            devices: vec![device(1, Some(Timestamp(9_999_000))), device(2, Some(Timestamp(1)))],
            suspended: Some(Timestamp(10_000_000 - 7200)),
            erase_due: None,
            damage: Damage { packs: 41, lost: 0, journal: false },
        };
        let leaving = AccountSurvey {
            id: VaultId::from_bytes([0xcd; 16]),
            erase_due: Some(Timestamp(10_000_000 + 172_800)),
            damage: Damage { packs: 0, lost: 0, journal: true },
            ..account.clone()
        };
        let unreadable = vec![VaultId::from_bytes([0xef; 16])];
        let survey = Survey { accounts: vec![account, leaving], unreadable, closed: 1 };
        let metrics = Metrics::default();
        metrics.start(Job::Scrub).succeed(Timestamp(9_990_000), "<b>\"2\" & 'x'</b>");
        let mut shown = sight(Some(survey), Vec::new());
        shown.disk = Some(Disk { free: 5 << 30, size: 10 << 30 });
        shown.held = Some(Held { last: Timestamp(1), now: Timestamp(86_401) });
        let page = render(&shown, &metrics);
        for part in [
            "Ready.",
            "<code>abababab</code>",
            "class=\"bad\">9.2 MiB",
            "5 GiB free of 10 GiB",
            "suspended 2 h ago",
            "erased by its owner in 2 days",
            "Something is damaged",
            "Deletion is held: the clock is 1 day ahead",
            "<code>02020202</code>",
            "115 days ago",
            "1 not open",
            "<td class=\"bad\">41<td>0<td>whole",
            "<td>0<td>0<td class=\"bad\">damaged or gone",
            "<code>efefefef</code><td>?<td>?<td class=\"bad\">",
            "&lt;b&gt;&quot;2&quot; &amp; &#39;x&#39;&lt;/b&gt;",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(!page.contains("<b>") && !page.contains("<script"));
        assert!(!page.contains("01010101"), "a device that is not silent");
        let whole = "ab".repeat(16);
        assert!(!page.contains(&whole), "pseudonyms, not ids");
    }

    #[test]
    fn troubles_are_shown() {
        let page = render(&sight(None, vec!["the disk is full"]), &Metrics::default());
        assert!(page.contains("Not ready: the disk is full."), "{page}");
        assert!(page.contains("cannot be listed") && !page.contains("Ready."));
        let page = render(&sight(Some(Survey::default()), Vec::new()), &Metrics::default());
        assert!(page.contains("None. <code>backup-server invite"), "{page}");
        assert!(!page.contains("amage"), "{page}");
        assert!(!page.contains("held"), "{page}");
        let lost = Survey { unreadable: vec![VaultId::from_bytes([1; 16])], ..Survey::default() };
        let page = render(&sight(Some(lost), Vec::new()), &Metrics::default());
        assert!(page.contains("Damage") && !page.contains("invite"), "{page}");
    }
}
