//! The way down to what is restored: by patterns, and past the folders above it. Pure.

use super::select::{Pick, Select, SelectCtx};
use crate::tree::entry::Name;

/// Where a walk through a snapshot is.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    ctx: SelectCtx,
    way: Way,
}

/// What is restored of a directory, whatever the patterns say.
#[derive(Debug, Clone, Default)]
pub(super) enum Way {
    /// All that is in it.
    #[default]
    All,
    /// It is above what is restored, and not restored itself.
    Above {
        /// The paths that are restored, from here; none is empty.
        paths: Vec<Vec<Name>>,
        /// Somebody asked for them by name: nothing beside them is restored.
        asked: bool,
    },
}

/// What becomes of an entry that is not left out.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) pick: Pick,
    /// It is above what is restored.
    pub(super) above: bool,
    way: Way,
}

impl Way {
    /// To one path, which was asked for by name; an empty one is the root.
    pub(super) fn to(path: &[Name]) -> Self {
        if path.is_empty() {
            Self::All
        } else {
            Self::Above { paths: vec![path.to_vec()], asked: true }
        }
    }

    /// To the paths that a backup was told to save, and to whatever is beside them.
    pub(super) fn to_saved(saved: &[Vec<u8>]) -> Self {
        let names = |path: &Vec<u8>| {
            let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
            parts.map(Name::new).collect::<Result<Vec<_>, _>>().ok()
        };
        let paths: Vec<_> = saved.iter().filter_map(names).collect();
        if paths.is_empty() || paths.iter().any(Vec::is_empty) {
            Self::All
        } else {
            Self::Above { paths, asked: false }
        }
    }

    /// The way from the entry `name`; `None` if it is beside all ways.
    fn step(&self, name: &Name, is_dir: bool) -> Option<Self> {
        let Self::Above { paths, asked } = self else {
            return Some(Self::All);
        };
        let begin = paths.iter().filter_map(|path| path.split_first());
        let rests: Vec<Vec<Name>> =
            begin.filter(|(first, _)| *first == name).map(|(_, rest)| rest.to_vec()).collect();
        if rests.is_empty() {
            (!asked).then_some(Self::All)
        } else if rests.iter().any(Vec::is_empty) || !is_dir {
            Some(Self::All)
        } else {
            Some(Self::Above { paths: rests, asked: *asked })
        }
    }

    fn is_asked(&self) -> bool {
        matches!(self, Self::Above { asked: true, .. })
    }
}

impl Scope {
    /// In the directory `path`, which was asked for by name, with `way` to go from there.
    pub(super) fn at(select: &Select, path: &[Name], way: Way) -> Self {
        let root = Self { ctx: select.root(), way: Way::to(path) };
        let mut scope = path.iter().fold(root, |scope, name| {
            let step = scope.step(select, name, true);
            step.map(|step| scope.enter(select, name, &step)).unwrap_or(scope)
        });
        scope.way = way;
        scope
    }

    /// It is above what is restored.
    pub(super) fn is_above(&self) -> bool {
        matches!(self.way, Way::Above { .. })
    }

    /// Everything in it is asked for.
    pub(super) fn is_inside(&self, select: &Select) -> bool {
        !self.is_above() && select.is_inside(&self.ctx)
    }

    /// What becomes of an entry; `None` if it is left out.
    pub(super) fn step(&self, select: &Select, name: &Name, is_dir: bool) -> Option<Step> {
        let way = self.way.step(name, is_dir)?;
        let pick = match select.pick(&self.ctx, name, is_dir) {
            // It was asked for by name.
            Pick::Leave if is_dir && self.way.is_asked() => Pick::Through,
            Pick::Leave => return None,
            pick => pick,
        };
        Some(Step { pick, above: matches!(way, Way::Above { .. }), way })
    }

    /// In the directory `name`.
    pub(super) fn enter(&self, select: &Select, name: &Name, step: &Step) -> Self {
        Self { ctx: select.enter(&self.ctx, name, step.pick), way: step.way.clone() }
    }

    /// Whether something that is there and not in the snapshot would have been restored.
    pub(super) fn takes(&self, select: &Select, name: &Name, is_dir: bool) -> bool {
        select.pick(&self.ctx, name, is_dir) == Pick::Take
    }

    /// In such a directory.
    pub(super) fn beneath(&self, select: &Select, name: &Name) -> Self {
        Self { ctx: select.enter(&self.ctx, name, Pick::Take), way: Way::All }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::exclude::{Case, Pattern};

    fn names(path: &str) -> Vec<Name> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.map(|part| Name::new(part.as_bytes()).unwrap()).collect()
    }

    /// `restored`, `above` or nothing, for each path: all but the last component are folders.
    fn becomes(select: &Select, way: &Way, path: &str) -> &'static str {
        let path = names(path);
        let mut scope = Scope::at(select, &[], way.clone());
        let mut last = None;
        for (depth, name) in path.iter().enumerate() {
            let is_dir = depth + 1 < path.len();
            let Some(step) = scope.step(select, name, is_dir) else {
                return "";
            };
            scope = scope.enter(select, name, &step);
            last = Some(step);
        }
        if last.unwrap().above { "above" } else { "restored" }
    }

    #[test]
    fn only_what_was_asked_for_is_restored() {
        let (all, way) = (Select::default(), Way::to(&names("/home/anna/docs")));
        for (path, expected) in [
            ("/home/anna/docs", "restored"),
            ("/home/anna/docs/a/b", "restored"),
            ("/home/anna/x", ""),
            ("/home/bert/docs", ""),
            ("/etc", ""),
        ] {
            assert_eq!(becomes(&all, &way, path), expected, "{path}");
        }
        let above = Scope::at(&all, &[], way.clone()).step(&all, &names("home")[0], true).unwrap();
        assert!(above.above);
        assert!(matches!(Way::to(&[]), Way::All));
    }

    #[test]
    fn what_is_beside_the_saved_paths_is_restored_like_them() {
        let saved = [b"/home/anna".to_vec(), b"/home/anna/docs/".to_vec(), b"/srv".to_vec()];
        let (all, way) = (Select::default(), Way::to_saved(&saved));
        for (path, is_dir, above) in [
            ("/home", true, true),
            ("/home/anna", true, false),
            ("/srv", true, false),
            ("/var", true, false),
            ("/home/bert", true, false),
            // Not what it was when it was above the source.
            ("/home", false, false),
        ] {
            let path = names(path);
            let (last, parents) = path.split_last().unwrap();
            let scope = parents.iter().fold(Scope::at(&all, &[], way.clone()), |scope, name| {
                let step = scope.step(&all, name, true).unwrap();
                scope.enter(&all, name, &step)
            });
            assert_eq!(scope.step(&all, last, is_dir).unwrap().above, above, "{path:?}");
        }
        assert!(matches!(Way::to_saved(&[b"/".to_vec(), b"/srv".to_vec()]), Way::All));
        assert!(matches!(Way::to_saved(&[]), Way::All));
    }

    #[test]
    fn patterns_hold_beneath_and_not_against_a_name() {
        let read = |text: &str| Pattern::parse(text.as_bytes(), Case::Sensitive).unwrap();
        let select = Select::new(Vec::new(), vec![read("tmp"), read("*.o")]);
        let asked = Way::to(&names("/home/tmp/x"));
        assert_eq!(becomes(&select, &asked, "/home/tmp/x/f"), "restored");
        assert_eq!(becomes(&select, &asked, "/home/tmp/x/tmp"), "");
        let saved = Way::to_saved(&[b"/home/tmp/x".to_vec()]);
        assert_eq!(becomes(&select, &saved, "/home/tmp/x/f"), "");
        let some = Select::new(vec![read("*.c")], Vec::new());
        assert_eq!(becomes(&some, &asked, "/home/tmp/x/f.c"), "restored");
        assert_eq!(becomes(&some, &asked, "/home/tmp/x/f.o"), "");
        assert!(!Scope::at(&some, &names("/home"), Way::All).is_inside(&some));
        assert!(Scope::at(&select, &names("/home/tmp"), Way::All).is_inside(&select));
    }
}
