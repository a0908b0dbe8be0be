//! The protocol of deletion as a small model, and every state that it can reach.
//!
//! Steps that the code takes under one lock are one step here; a crash may come between any two.
//! Broken variants of the protocol must be found out: what does not find them proves nothing.

use std::collections::HashSet;

/// Pack numbers, snapshots, and the last moment.
const NUMBERS: usize = 4;
const SNAPSHOTS: usize = 2;
const GRACE: u8 = 2;
/// A pack that is sent again after so long is noted.
const TOUCH: u8 = 1;
/// The contents that a device sends; a compaction puts those of the first into the last.
const CONTENTS: usize = 3;

/// Which part of the protocol is gone through, so that each can be gone through to its end.
#[derive(Debug, Clone, Copy)]
struct Scope {
    /// Contents that the device backs up: one or two.
    contents: usize,
    compaction: bool,
    damage: u8,
    crashes: u8,
    undelete: bool,
    /// The last moment.
    end: u8,
}

/// A deviation from the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// What was committed since the plan is not looked at.
    NoSecondLook,
    /// A pack that is there is acknowledged and not noted.
    NoGraceForKnown,
    /// Files go before rows.
    FilesFirst,
    /// What is being stored counts as left over.
    StoringIsStray,
    /// After a restart numbers go on above the rows alone.
    NumbersFromRows,
    /// A compaction is taken whatever happened to the snapshot since its plan.
    StalePlan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Row {
    content: u8,
    stamp: u8,
    damaged: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum List {
    Free,
    Live(u8),
    Gone(u8, u8),
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Upload {
    None,
    Claimed(u8, u8),
    Stored(u8, u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Gc {
    Idle,
    Planned { candidates: u8, counted: [Option<u8>; 2 * SNAPSHOTS] },
    RowsGone(u8),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    now: u8,
    rows: [Option<Row>; NUMBERS],
    files: [bool; NUMBERS],
    next: usize,
    /// What each number has ever named.
    dealt: [Option<u8>; NUMBERS],
    dealt_twice: bool,
    lists: [List; SNAPSHOTS],
    /// Lists before a compaction, and until when they count.
    old: [Option<(u8, u8)>; SNAPSHOTS],
    /// What the device believes: number of a content, and when it was told.
    told: [Option<(u8, u8)>; CONTENTS],
    upload: Upload,
    gc: Gc,
    /// A compaction that was planned: of which snapshot, with which list.
    plan: Option<(usize, u8)>,
    crashes: u8,
    damage: u8,
    undeleted: bool,
}

type Steps = Vec<(&'static str, World)>;

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            rows: [None; NUMBERS],
            files: [false; NUMBERS],
            next: 0,
            dealt: [None; NUMBERS],
            dealt_twice: false,
            lists: [List::Free; SNAPSHOTS],
            old: [None; SNAPSHOTS],
            told: [None; CONTENTS],
            upload: Upload::None,
            gc: Gc::Idle,
            plan: None,
            crashes: 0,
            damage: 0,
            undeleted: false,
        }
    }

    /// The lists that count, at fixed places.
    fn needed(&self) -> [Option<u8>; 2 * SNAPSHOTS] {
        let mut needed = [None; 2 * SNAPSHOTS];
        for snapshot in 0..SNAPSHOTS {
            needed[2 * snapshot] = match self.lists[snapshot] {
                List::Live(packs) => Some(packs),
                List::Gone(packs, until) if self.now < until => Some(packs),
                _ => None,
            };
            needed[2 * snapshot + 1] =
                self.old[snapshot].filter(|(_, until)| self.now < *until).map(|(packs, _)| packs);
        }
        needed
    }

    fn has(&self, packs: u8) -> bool {
        let mut named = (0..NUMBERS).filter(|n| packs & (1 << n) != 0);
        named.all(|n| self.rows[n].is_some_and(|row| !row.damaged))
    }

    /// What is wrong with this state, if anything.
    fn fault(&self) -> Option<&'static str> {
        if self.dealt_twice {
            return Some("a number was given twice");
        }
        for packs in self.needed().into_iter().flatten() {
            for n in (0..NUMBERS).filter(|n| packs & (1 << n) != 0) {
                match self.rows[n] {
                    None => return Some("a pack that is needed has no row"),
                    Some(row) if !row.damaged && !self.files[n] => {
                        return Some("a pack that is needed has no file");
                    }
                    _ => {}
                }
            }
        }
        for (number, told) in self.told.into_iter().flatten() {
            if self.now < told + GRACE && self.rows[usize::from(number)].is_none() {
                return Some("a pack that was acknowledged went within its grace");
            }
        }
        let whole = |n: usize| self.rows[n].is_none_or(|row| row.damaged || self.files[n]);
        (!(0..NUMBERS).all(whole)).then_some("a row without a file")
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        next
    }

    fn steps(&self, broken: Broken, scope: &Scope) -> Steps {
        let mut steps = Vec::new();
        if self.now < scope.end {
            steps.push(("time passes", self.with(|w| w.now += 1)));
        }
        self.uploads(broken, scope, &mut steps);
        self.commits(&mut steps);
        self.forgets(scope, &mut steps);
        self.collects(broken, &mut steps);
        if scope.compaction {
            self.compacts(broken, &mut steps);
        }
        if self.crashes < scope.crashes {
            steps.push(("crash", self.with(|w| w.crash(broken))));
        }
        for n in (0..NUMBERS).filter(|_| self.damage < scope.damage) {
            if self.rows[n].is_some_and(|row| !row.damaged) && self.gc == Gc::Idle {
                steps.push(("scrub finds damage", self.with(|w| w.damage(n))));
            }
        }
        steps
    }

    fn damage(&mut self, n: usize) {
        self.damage += 1;
        self.files[n] = false;
        if let Some(row) = &mut self.rows[n] {
            row.damaged = true;
        }
    }

    fn crash(&mut self, broken: Broken) {
        self.crashes += 1;
        (self.upload, self.gc) = (Upload::None, Gc::Idle);
        let above = |used: &dyn Fn(usize) -> bool| {
            (0..NUMBERS).filter(|n| used(*n)).max().map_or(0, |n| n + 1)
        };
        self.next = match broken {
            Broken::NumbersFromRows => above(&|n| self.rows[n].is_some()),
            _ => above(&|n| self.dealt[n].is_some() || self.files[n]),
        };
    }

    fn uploads(&self, broken: Broken, scope: &Scope, steps: &mut Steps) {
        match self.upload {
            Upload::None => {
                for content in 0..CONTENTS {
                    // The last content is made by compaction.
                    let made = content + 1 == CONTENTS && self.plan.is_some();
                    if content < scope.contents || made {
                        steps.extend(self.upload_of(content, broken));
                    }
                }
            }
            Upload::Claimed(content, number) => {
                let stored = self.with(|w| {
                    w.files[usize::from(number)] = true;
                    w.upload = Upload::Stored(content, number);
                });
                steps.push(("file of an upload", stored));
            }
            Upload::Stored(content, number) => {
                let n = usize::from(number);
                let taken = self.with(|w| {
                    w.rows[n] = Some(Row { content, stamp: w.now, damaged: false });
                    w.dealt_twice |= w.dealt[n].is_some();
                    w.dealt[n] = Some(content);
                    w.told[usize::from(content)] = Some((number, w.now));
                    w.upload = Upload::None;
                });
                steps.push(("row of an upload", taken));
                steps.push(("upload is cut off", self.with(|w| w.upload = Upload::None)));
            }
        }
    }

    fn upload_of(&self, content: usize, broken: Broken) -> Option<(&'static str, Self)> {
        let name = u8::try_from(content).unwrap();
        let there = (0..NUMBERS).find(|n| self.rows[*n].is_some_and(|row| row.content == name));
        let Some(n) = there else {
            let number = u8::try_from(self.next).unwrap();
            let claimed = self.with(|w| {
                w.upload = Upload::Claimed(name, number);
                w.next += 1;
            });
            return (self.next < NUMBERS).then_some(("upload begins", claimed));
        };
        let known = self.with(|w| {
            let now = w.now;
            if let Some(row) = &mut w.rows[n] {
                if row.damaged {
                    row.damaged = false;
                    w.files[n] = true;
                }
                if now >= row.stamp + TOUCH && broken != Broken::NoGraceForKnown {
                    row.stamp = now;
                }
            }
            // Within the first while no record is written: it was told then.
            let told = w.rows[n]
                .map_or(now, |row| if broken == Broken::NoGraceForKnown { now } else { row.stamp });
            w.told[content] = Some((u8::try_from(n).unwrap(), told));
        });
        Some(("upload of what is there", known))
    }

    fn commits(&self, steps: &mut Steps) {
        let known = self.told.iter().take(CONTENTS - 1).flatten();
        let all = known.clone().fold(0, |packs, (number, _)| packs | 1 << number);
        let first = known.take(1).fold(0, |packs, (number, _)| packs | 1 << number);
        // Snapshots are alike: the first free one will do.
        let Some(free) = self.lists.iter().position(|list| *list == List::Free) else {
            return;
        };
        for packs in [all, first] {
            steps.push(("commit", self.with(|w| w.commit(free, packs))));
        }
    }

    fn commit(&mut self, snapshot: usize, packs: u8) {
        if packs != 0 && self.has(packs) {
            self.lists[snapshot] = List::Live(packs);
            return;
        }
        for told in &mut self.told {
            let row = told.and_then(|(number, _)| self.rows[usize::from(number)]);
            *told = told.filter(|_| row.is_some_and(|row| !row.damaged));
        }
    }

    fn forgets(&self, scope: &Scope, steps: &mut Steps) {
        for snapshot in 0..SNAPSHOTS {
            match self.lists[snapshot] {
                List::Live(packs) => {
                    let gone = List::Gone(packs, self.now + GRACE);
                    steps.push(("forget", self.with(|w| w.lists[snapshot] = gone)));
                }
                List::Gone(packs, until)
                    if scope.undelete && !self.undeleted && self.now < until && self.has(packs) =>
                {
                    let back = self.with(|w| {
                        w.lists[snapshot] = List::Live(packs);
                        w.undeleted = true;
                    });
                    steps.push(("undelete", back));
                }
                _ => {}
            }
        }
    }

    fn collects(&self, broken: Broken, steps: &mut Steps) {
        match self.gc {
            Gc::Idle => {
                steps.push(("plan a collection", self.with(Self::plan)));
                for n in 0..self.next.min(NUMBERS) {
                    let busy = matches!(self.upload, Upload::Stored(_, number) if usize::from(number) == n)
                        && broken != Broken::StoringIsStray;
                    if self.files[n] && self.rows[n].is_none() && !busy {
                        steps.push(("a stray file goes", self.with(|w| w.files[n] = false)));
                    }
                }
            }
            Gc::Planned { candidates, counted } => {
                let goes = self.goes(candidates, counted, broken);
                let next = self.with(|w| {
                    if broken == Broken::FilesFirst {
                        w.remove_files(goes);
                    } else {
                        w.remove_rows(goes);
                    }
                    w.gc = Gc::RowsGone(goes);
                });
                steps.push(("rows go", next));
            }
            Gc::RowsGone(packs) => {
                let next = self.with(|w| {
                    w.remove_files(packs);
                    if broken == Broken::FilesFirst {
                        w.remove_rows(packs);
                    }
                    w.gc = Gc::Idle;
                });
                steps.push(("files go", next));
            }
        }
    }

    fn plan(&mut self) {
        let counted = self.needed();
        let live = counted.iter().flatten().fold(0, |all, packs| all | packs);
        let there =
            (0..NUMBERS).filter(|n| self.rows[*n].is_some()).fold(0, |all, n| all | 1_u8 << n);
        self.gc = Gc::Planned { candidates: there & !live, counted };
    }

    fn goes(&self, candidates: u8, counted: [Option<u8>; 2 * SNAPSHOTS], broken: Broken) -> u8 {
        let mut goes = candidates;
        if broken != Broken::NoSecondLook {
            for (list, known) in self.needed().iter().zip(&counted) {
                if list != known {
                    goes &= !list.unwrap_or(0);
                }
            }
        }
        (0..NUMBERS)
            .filter(|n| self.rows[*n].is_some_and(|row| row.stamp + GRACE <= self.now))
            .fold(0, |all, n| all | goes & (1 << n))
    }

    fn remove_rows(&mut self, packs: u8) {
        for n in (0..NUMBERS).filter(|n| packs & (1 << n) != 0) {
            self.rows[n] = None;
        }
        let now = self.now;
        for list in &mut self.lists {
            if matches!(list, List::Gone(_, until) if *until <= now) {
                *list = List::Over;
            }
        }
        for old in &mut self.old {
            *old = old.filter(|(_, until)| now < *until);
        }
    }

    fn remove_files(&mut self, packs: u8) {
        for n in (0..NUMBERS).filter(|n| packs & (1 << n) != 0) {
            self.files[n] = false;
        }
    }

    fn compacts(&self, broken: Broken, steps: &mut Steps) {
        let Some((snapshot, planned)) = self.plan else {
            for snapshot in 0..SNAPSHOTS {
                if let List::Live(packs) = self.lists[snapshot]
                    && self.old[snapshot].is_none()
                {
                    steps.push((
                        "plan a compaction",
                        self.with(|w| w.plan = Some((snapshot, packs))),
                    ));
                }
            }
            return;
        };
        steps.push(("compaction is given up", self.with(|w| w.plan = None)));
        let Some((number, _)) = self.told[CONTENTS - 1] else {
            return;
        };
        let same = self.lists[snapshot] == List::Live(planned);
        let removed = planned & planned.wrapping_neg();
        let new = planned & !removed | 1 << number;
        if removed == 1 << number {
            return;
        }
        if same && self.has(new) || broken == Broken::StalePlan {
            let done = self.with(|w| {
                let until = w.now + GRACE;
                w.old[snapshot] = Some((planned, until));
                w.lists[snapshot] = List::Live(new);
                w.plan = None;
            });
            steps.push(("compaction", done));
        }
    }
}

/// Goes through everything that can be reached; gives the shortest way to a fault, and the number
/// of states.
fn explore(broken: Broken, scope: &Scope) -> (Option<(Vec<&'static str>, &'static str)>, usize) {
    let mut states = vec![(World::new(), 0, "")];
    let mut seen = HashSet::from([World::new()]);
    let mut at = 0;
    while at < states.len() {
        for (name, next) in states[at].0.steps(broken, scope) {
            if let Some(fault) = next.fault() {
                let mut way = vec![name];
                let mut back = at;
                while back != 0 {
                    way.push(states[back].2);
                    back = states[back].1;
                }
                way.reverse();
                return (Some((way, fault)), states.len());
            }
            if seen.insert(next.clone()) {
                states.push((next, at, name));
            }
        }
        at += 1;
    }
    (None, states.len())
}

const PLAIN: Scope =
    Scope { contents: 1, compaction: false, damage: 0, crashes: 1, undelete: true, end: 4 };
const COMPACTION: Scope = Scope { compaction: true, crashes: 0, undelete: false, end: 2, ..PLAIN };
const DAMAGE: Scope = Scope { damage: 1, crashes: 0, end: 3, ..PLAIN };
const TWO: Scope = Scope { contents: 2, crashes: 0, undelete: false, end: 2, ..PLAIN };

#[test]
fn the_protocol_holds_in_every_state() {
    for (scope, least) in
        [(PLAIN, 200_000), (COMPACTION, 200_000), (DAMAGE, 100_000), (TWO, 200_000)]
    {
        let (fault, states) = explore(Broken::Nothing, &scope);
        assert_eq!(fault, None, "{scope:?}");
        assert!(states > least, "{scope:?}: {states}");
    }
}

#[test]
fn every_broken_protocol_is_found_out() {
    for (broken, scope) in [
        (Broken::NoSecondLook, PLAIN),
        (Broken::NoGraceForKnown, PLAIN),
        (Broken::FilesFirst, PLAIN),
        (Broken::StoringIsStray, PLAIN),
        (Broken::NumbersFromRows, PLAIN),
        (Broken::StalePlan, COMPACTION),
    ] {
        let (fault, states) = explore(broken, &scope);
        assert!(fault.is_some(), "{broken:?} is not found in {states} states");
    }
}
