//! Which packs to write anew. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use unseen_common::id::{DeviceId, PackNumber};
use unseen_common::limits::{MAX_PACK, MIN_PACK};

/// A pack that some snapshot needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weighed {
    /// Its number.
    pub number: PackNumber,
    /// Who wrote it.
    pub device: DeviceId,
    /// Its length, in bytes.
    pub length: u64,
    /// Bytes of its segments.
    pub body: u64,
    /// About how many of them hold what a snapshot needs; at most `body`.
    pub live: u64,
}

impl Weighed {
    fn dead(&self) -> u64 {
        self.body.saturating_sub(self.live)
    }
}

/// How much may stay unused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tolerated {
    /// So many millionths of what is left, below a million.
    Millionths(u32),
    /// So many bytes.
    Bytes(u64),
    /// Anything.
    Unlimited,
}

/// What bounds a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nothing is written anew for the sake of less.
    pub unused: Tolerated,
    /// Packs of so many bytes together are read and written anew, at most.
    pub rewrite: u64,
}

/// What to do for one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// Packs of the device that snapshots need.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes in them that nothing needs.
    pub unused: u64,
    /// The packs to write anew, ascending.
    pub rewrite: Vec<PackNumber>,
    /// Their bytes.
    pub rewritten: u64,
    /// About how many packs they become.
    pub new_packs: u64,
    /// About how many bytes.
    pub becomes: u64,
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// By device.
    pub devices: BTreeMap<DeviceId, Share>,
}

impl Plan {
    /// Adds up something of all devices.
    pub fn sum(&self, what: impl Fn(&Share) -> u64) -> u64 {
        self.devices.values().map(what).fold(0, u64::saturating_add)
    }

    /// How many packs are written anew.
    pub fn count(&self) -> u64 {
        self.sum(|share| u64::try_from(share.rewrite.len()).unwrap_or(u64::MAX))
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.devices.values().all(|share| share.rewrite.is_empty())
    }
}

const MILLION: u64 = 1_000_000;
/// A pack of at most so many bytes is small.
const SMALL: u64 = 2 * 1024 * 1024;
/// So many small packs of one device are joined.
const JOIN: usize = 16;
/// Header, footer and trailer take about so many bytes.
const ENDS: u64 = 12 * 1024;
/// Segments leave so much of a pack empty.
const SLACK: u64 = 128 * 1024;
/// A last pack that would be emptier than this is made of two.
const WASTE: u64 = 512 * 1024;

/// Chooses packs: those with the largest unused part first, until no more is unused than is
/// tolerated; and small ones, where a device has many. Nothing of a device that gains nothing by
/// it.
pub fn plan(packs: &[Weighed], limits: &Limits) -> Plan {
    let mut chosen: BTreeSet<PackNumber> = BTreeSet::new();
    let mut budget = limits.rewrite;
    let allowed = tolerated(packs, limits.unused);
    let mut unused: u64 = packs.iter().map(Weighed::dead).sum();
    let mut ranked: Vec<&Weighed> = packs.iter().filter(|pack| pack.dead() > 0).collect();
    ranked.sort_by_key(|pack| (Reverse(share_of(pack)), Reverse(pack.dead()), pack.number));
    for pack in ranked {
        // One of which nothing is needed is only let go.
        let cost = if pack.live == 0 { 0 } else { pack.length };
        if unused <= allowed || cost > budget {
            break;
        }
        budget = budget.saturating_sub(cost);
        unused = unused.saturating_sub(pack.dead());
        chosen.insert(pack.number);
    }
    let mut plan = Plan::default();
    let mut by_device: BTreeMap<DeviceId, Vec<&Weighed>> = BTreeMap::new();
    for pack in packs {
        by_device.entry(pack.device).or_default().push(pack);
    }
    for (device, mine) in by_device {
        join(&mine, &mut chosen, &mut budget);
        plan.devices.insert(device, share(&mine, &chosen));
    }
    plan
}

/// The unused part of a pack, in millionths.
fn share_of(pack: &Weighed) -> u64 {
    pack.dead().saturating_mul(MILLION) / pack.body.max(1)
}

/// A part of what is left: of what is needed and of that itself.
fn tolerated(packs: &[Weighed], unused: Tolerated) -> u64 {
    let live: u64 = packs.iter().map(|pack| pack.live).sum();
    match unused {
        Tolerated::Bytes(bytes) => bytes,
        Tolerated::Unlimited => u64::MAX,
        Tolerated::Millionths(share) => {
            let share = u64::from(share).min(MILLION - 1);
            live.saturating_mul(share) / (MILLION - share)
        }
    }
}

/// Chooses the small packs of a device, the smallest first, if there are many.
fn join(packs: &[&Weighed], chosen: &mut BTreeSet<PackNumber>, budget: &mut u64) {
    let is_small = |pack: &Weighed| pack.length <= SMALL && !chosen.contains(&pack.number);
    let mut small: Vec<&Weighed> = packs.iter().copied().filter(|pack| is_small(pack)).collect();
    small.sort_by_key(|pack| (pack.length, pack.number));
    let mut left = *budget;
    let fits = |pack: &&Weighed| {
        let rest = left.checked_sub(pack.length);
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    let joined: Vec<PackNumber> = small.into_iter().take_while(fits).map(|p| p.number).collect();
    if joined.len() >= JOIN {
        *budget = left;
        chosen.extend(joined);
    }
}

fn share(packs: &[&Weighed], chosen: &BTreeSet<PackNumber>) -> Share {
    let sum = |packs: &[&Weighed], what: fn(&Weighed) -> u64| packs.iter().map(|p| what(p)).sum();
    let mine: Vec<&Weighed> =
        packs.iter().copied().filter(|pack| chosen.contains(&pack.number)).collect();
    let (dead, mut live): (Vec<_>, Vec<_>) = mine.into_iter().partition(|pack| pack.live == 0);
    let (mut new_packs, mut becomes) = become_of(sum(&live, |pack| pack.live));
    let fewer = usize::try_from(new_packs).is_ok_and(|count| count < live.len());
    if becomes > sum(&live, |pack| pack.length)
        || becomes == sum(&live, |pack| pack.length) && !fewer
    {
        live.clear();
        (new_packs, becomes) = (0, 0);
    }
    let all = [dead, live].concat();
    let mut rewrite: Vec<PackNumber> = all.iter().map(|pack| pack.number).collect();
    rewrite.sort_unstable();
    Share {
        packs: u64::try_from(packs.len()).unwrap_or(u64::MAX),
        bytes: sum(packs, |pack| pack.length),
        unused: sum(packs, Weighed::dead),
        rewritten: sum(&all, |pack| pack.length),
        rewrite,
        new_packs,
        becomes,
    }
}

/// About how many packs, and of how many bytes, hold so many bytes of segments.
fn become_of(mut live: u64) -> (u64, u64) {
    let full = MAX_PACK - ENDS - SLACK;
    let mut packs = live / full;
    let mut bytes = packs.saturating_mul(MAX_PACK);
    live %= full;
    while live > 0 {
        let needed = live.saturating_add(ENDS);
        let mut length = needed.next_power_of_two().max(MIN_PACK);
        if length.saturating_sub(needed) > WASTE {
            length /= 2;
        }
        live = live.saturating_sub(length.saturating_sub(ENDS));
        packs = packs.saturating_add(1);
        bytes = bytes.saturating_add(length);
    }
    (packs, bytes)
}

#[cfg(test)]
mod tests;
