//! What the owner rules: disclosure, grace, how long snapshots stay, limits.

use minicbor::decode::Decoder;
use serde::{Deserialize, Serialize};

use crate::codec::{
    Canonical, DecodeError, Enc, EncodeResult, array_len, array_of, bytes_n, optional,
};
use crate::disclosure::Level;
use crate::id::{DeviceId, SetTag};
use crate::limits::MAX_POLICY_ROWS;

/// The rules of a vault. One policy replaces another as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What snapshots may disclose.
    pub disclosure: Level,
    /// Days that forgotten and expired snapshots, and packs that nothing references, are kept.
    pub grace_days: u32,
    /// The floor: every snapshot stays this many days from the moment the server received it.
    pub floor_days: u32,
    /// Which snapshots stay, unless their set has rules of its own.
    pub keep: KeepRules,
    /// Sets with rules of their own, ascending by tag.
    pub sets: Vec<SetRules>,
    /// More snapshots of one device than this within an hour are a burst.
    pub burst_per_hour: u32,
    /// Days that a burst stops the expiry of its device's snapshots.
    pub burst_pause_days: u32,
    /// Most bytes that one device may store, if there is such a limit.
    pub device_bytes: Option<u64>,
    /// Devices with a limit of their own, ascending by id.
    pub devices: Vec<DeviceLimit>,
    /// Clients refuse packs and manifests of older formats than this; never falls.
    pub format_floor: u32,
    /// Against what a device deduplicates.
    pub dedup_scope: DedupScope,
    /// A device that is silent for this many days is reported; 0 for never.
    pub silent_days: u32,
}

/// Keep rules by restic's names. A snapshot stays if any of them keeps it; with no rule at all,
/// every snapshot stays. `u32::MAX` stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeepRules {
    /// The newest so many.
    pub last: u32,
    /// The newest of each of the newest so many hours that have any.
    pub hourly: u32,
    /// Of so many days.
    pub daily: u32,
    /// Of so many weeks, Monday to Sunday.
    pub weekly: u32,
    /// Of so many months.
    pub monthly: u32,
    /// Of so many years.
    pub yearly: u32,
    /// All that are less than so many seconds older than the newest; 0 for no such rule.
    pub within: u64,
}

/// Rules of one set, on all devices that have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRules {
    /// The set.
    pub set: SetTag,
    /// Its rules, in place of the vault's.
    pub keep: KeepRules,
}

/// A limit of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLimit {
    /// The device.
    pub device: DeviceId,
    /// Most bytes that it may store.
    pub bytes: u64,
}

/// Against what a device deduplicates. Only one scope is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DedupScope {
    /// Its own packs and those of the devices whose place it took.
    #[default]
    Own,
}

/// The rules before any policy entry: disclosure `summary`, 30 days of grace, every snapshot
/// stays.
pub const DEFAULT_POLICY: Policy = Policy {
    disclosure: Level::Summary,
    grace_days: 30,
    floor_days: 0,
    keep: KeepRules::NONE,
    sets: Vec::new(),
    burst_per_hour: 60,
    burst_pause_days: 30,
    device_bytes: None,
    devices: Vec::new(),
    format_floor: 0,
    dedup_scope: DedupScope::Own,
    silent_days: 0,
};

const MIN_GRACE_DAYS: u32 = 2;
/// A longer grace could not be shortened again within a lifetime.
const MAX_GRACE_DAYS: u32 = 3650;
const MAX_DAYS: u32 = 36_500;
const MAX_BURST: u32 = 10_000;

impl KeepRules {
    /// No rule: everything stays.
    pub const NONE: Self =
        Self { last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, within: 0 };

    /// Whether there is no rule, so that everything stays.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(7)?.u32(self.last)?.u32(self.hourly)?.u32(self.daily)?.u32(self.weekly)?;
        e.u32(self.monthly)?.u32(self.yearly)?.u64(self.within)?;
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 7, "keep rules")?;
        Ok(Self {
            last: d.u32()?,
            hourly: d.u32()?,
            daily: d.u32()?,
            weekly: d.u32()?,
            monthly: d.u32()?,
            yearly: d.u32()?,
            within: d.u64()?,
        })
    }
}

impl Policy {
    /// The rules of a set.
    pub fn keep_of(&self, set: SetTag) -> &KeepRules {
        match self.sets.binary_search_by_key(&set, |row| row.set) {
            Ok(at) => self.sets.get(at).map_or(&self.keep, |row| &row.keep),
            Err(_) => &self.keep,
        }
    }

    /// Most bytes that a device may store, if there is a limit.
    pub fn limit_of(&self, device: DeviceId) -> Option<u64> {
        match self.devices.binary_search_by_key(&device, |row| row.device) {
            Ok(at) => self.devices.get(at).map(|row| row.bytes),
            Err(_) => self.device_bytes,
        }
    }

    /// Whether this policy protects less than `old`: a shorter grace or a shorter floor.
    pub const fn weakens(&self, old: &Self) -> bool {
        self.grace_days < old.grace_days || self.floor_days < old.floor_days
    }

    /// Why no log takes this policy, if so.
    pub const fn fault(&self) -> Option<&'static str> {
        if self.grace_days < MIN_GRACE_DAYS {
            return Some("grace is at least 2 days");
        }
        if self.grace_days > MAX_GRACE_DAYS {
            return Some("grace is at most 3650 days");
        }
        if self.floor_days > MAX_DAYS || self.burst_pause_days > MAX_DAYS {
            return Some("floor and pause are at most 36500 days");
        }
        if self.burst_per_hour == 0 || self.burst_per_hour > MAX_BURST {
            return Some("the cap of snapshots in an hour lies between 1 and 10000");
        }
        None
    }
}

impl Canonical for Policy {
    const WHAT: &'static str = "policy";
    const CAP: usize = 32 * 1024;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(12)?.u8(level_number(self.disclosure))?.u32(self.grace_days)?;
        e.u32(self.floor_days)?;
        self.keep.encode(e)?;
        e.array(count(self.sets.len()))?;
        for row in &self.sets {
            e.array(2)?.bytes(row.set.as_bytes())?;
            row.keep.encode(e)?;
        }
        e.u32(self.burst_per_hour)?.u32(self.burst_pause_days)?;
        match self.device_bytes {
            Some(bytes) => e.u64(bytes)?,
            None => e.null()?,
        };
        e.array(count(self.devices.len()))?;
        for row in &self.devices {
            e.array(2)?.bytes(row.device.as_bytes())?.u64(row.bytes)?;
        }
        let DedupScope::Own = self.dedup_scope;
        e.u32(self.format_floor)?.u8(0)?.u32(self.silent_days)?;
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 12, "policy")?;
        Ok(Self {
            disclosure: level_from(d.u8()?)?,
            grace_days: d.u32()?,
            floor_days: d.u32()?,
            keep: KeepRules::decode(d)?,
            sets: rows(
                d,
                "sets of a policy",
                |row: &SetRules| row.set,
                |d| {
                    let set = SetTag::from_bytes(bytes_n(d, "set tag")?);
                    Ok(SetRules { set, keep: KeepRules::decode(d)? })
                },
            )?,
            burst_per_hour: d.u32()?,
            burst_pause_days: d.u32()?,
            device_bytes: optional(d, |d| Ok(d.u64()?))?,
            devices: rows(
                d,
                "devices of a policy",
                |row: &DeviceLimit| row.device,
                |d| {
                    let device = DeviceId::from_bytes(bytes_n(d, "device id")?);
                    Ok(DeviceLimit { device, bytes: d.u64()? })
                },
            )?,
            format_floor: d.u32()?,
            dedup_scope: match d.u8()? {
                0 => DedupScope::Own,
                number => {
                    let number = number.into();
                    return Err(DecodeError::Unknown { what: "scope of deduplication", number });
                }
            },
            silent_days: d.u32()?,
        })
    }
}

/// Rows of two items, ascending by key.
fn rows<T, K: Ord>(
    d: &mut Decoder<'_>,
    what: &'static str,
    key: impl Fn(&T) -> K,
    read: impl Fn(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut rows: Vec<T> = Vec::new();
    for _ in 0..array_len(d, what, MAX_POLICY_ROWS)? {
        array_of(d, 2, what)?;
        let row = read(d)?;
        if rows.last().is_some_and(|last| key(last) >= key(&row)) {
            return Err(DecodeError::NotCanonical(what));
        }
        rows.push(row);
    }
    Ok(rows)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

const fn level_number(level: Level) -> u8 {
    match level {
        Level::None => 0,
        Level::Summary => 1,
        Level::Types => 2,
    }
}

fn level_from(number: u8) -> Result<Level, DecodeError> {
    match number {
        0 => Ok(Level::None),
        1 => Ok(Level::Summary),
        2 => Ok(Level::Types),
        _ => Err(DecodeError::Unknown { what: "disclosure level", number: number.into() }),
    }
}
