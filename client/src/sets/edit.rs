//! Sets written into the text of config.toml. The rest of the file, its comments and its order
//! stay as they are.

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value};

use super::named::{DEFAULT_PROFILE, MarkerText, NamedSet, PatternText, SetPath, SetSource};

/// Why a text cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is no TOML.
    #[error("not TOML: {0}")]
    NotToml(String),
    /// Sets are there, in another form than `[[set]]`.
    #[error("`set` is not written as [[set]] sections, and has to be changed by hand")]
    OtherForm,
    /// The set is not there.
    #[error("there is no set {0}")]
    Unknown(String),
}

/// The text with one more set at its end.
pub fn added(text: &str, set: &NamedSet) -> Result<String, EditError> {
    let mut document = parse(text)?;
    let mut table = Table::new();
    write(&mut table, None, set);
    if !text.trim().is_empty() {
        table.decor_mut().set_prefix("\n");
    }
    tables(&mut document)?.push(table);
    Ok(document.to_string())
}

/// The text with `old` as `new` has it. Keys that stay the same are not touched.
pub fn changed(text: &str, old: &NamedSet, new: &NamedSet) -> Result<String, EditError> {
    let mut document = parse(text)?;
    let tables = tables(&mut document)?;
    let found = position(tables, old).and_then(|at| tables.get_mut(at));
    let table = found.ok_or_else(|| EditError::Unknown(old.name.clone()))?;
    write(table, Some(old), new);
    Ok(document.to_string())
}

/// The text without a set, and without the comment right above it.
pub fn removed(text: &str, set: &NamedSet) -> Result<String, EditError> {
    let mut document = parse(text)?;
    let tables = tables(&mut document)?;
    let at = position(tables, set).ok_or_else(|| EditError::Unknown(set.name.clone()))?;
    tables.remove(at);
    if tables.is_empty() {
        document.remove("set");
    }
    Ok(document.to_string())
}

/// A set as it stands in config.toml.
pub fn section(set: &NamedSet) -> String {
    let mut table = Table::new();
    write(&mut table, None, set);
    table.to_string()
}

fn parse(text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(|error: toml_edit::TomlError| EditError::NotToml(error.to_string()))
}

fn tables(document: &mut DocumentMut) -> Result<&mut ArrayOfTables, EditError> {
    let item = document.entry("set").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    item.as_array_of_tables_mut().ok_or(EditError::OtherForm)
}

fn position(tables: &ArrayOfTables, set: &NamedSet) -> Option<usize> {
    tables.iter().position(|table| {
        let text = |key: &str| table.get(key).and_then(Item::as_str);
        text("name").is_some_and(|name| super::name::typed(name).as_ref() == Ok(&set.name))
            && text("profile").unwrap_or(DEFAULT_PROFILE) == set.profile
    })
}

/// Writes what differs from `old`, or all that is not as it is by itself.
fn write(table: &mut Table, old: Option<&NamedSet>, new: &NamedSet) {
    let before = old.map(keys).unwrap_or_default();
    let before = |key: &str| before.iter().find(|(name, _)| *name == key).map(|(_, value)| value);
    for (key, value) in keys(new) {
        let was = before(key).and_then(Option::as_ref);
        if was.map(ToString::to_string) == value.as_ref().map(ToString::to_string) {
            continue;
        }
        match (value, table.get_mut(key).and_then(Item::as_value_mut)) {
            (None, _) => {
                table.remove(key);
            }
            (Some(mut value), Some(there)) => {
                *value.decor_mut() = there.decor().clone();
                *there = value;
            }
            (Some(value), None) => {
                table.insert(key, Item::Value(value));
            }
        }
    }
}

/// All keys in the order in which they are written; those that are as they are by themselves have
/// no value.
pub fn keys(set: &NamedSet) -> Vec<(&'static str, Option<Value>)> {
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let flag = |set: bool| set.then(|| Value::from(true));
    let profile = (set.profile != DEFAULT_PROFILE).then(|| Value::from(set.profile.as_str()));
    let (mut paths, mut argv, mut file) = (None, None, None);
    match &set.source {
        SetSource::Paths(all) => paths = list(all.iter().map(SetPath::text)),
        SetSource::Command { argv: all, file: name } => {
            argv = list(all.iter().map(String::as_str));
            file = std::str::from_utf8(name.as_bytes()).ok().map(Value::from);
        }
    }
    let (excludes, schedule, hooks) = (&set.excludes, &set.schedule, &set.hooks);
    let patterns = |all: &[PatternText]| list(all.iter().map(PatternText::text));
    vec![
        ("name", Some(Value::from(set.name.as_str()))),
        ("profile", profile),
        ("paths", paths),
        ("stdin_from_command", argv),
        ("stdin_filename", file),
        ("default_excludes", flag(excludes.defaults)),
        ("exclude", patterns(&excludes.patterns)),
        ("iexclude", patterns(&excludes.ignoring_case)),
        ("exclude_file", list(excludes.files.iter().map(SetPath::text))),
        ("exclude_caches", flag(excludes.caches)),
        ("exclude_if_present", list(excludes.if_present.iter().map(MarkerText::text))),
        ("exclude_larger_than", shown(excludes.larger_than)),
        ("git_ignore", flag(excludes.git_ignore)),
        ("one_file_system", flag(excludes.one_file_system)),
        ("tags", list(set.label.tags.iter().map(String::as_str))),
        ("host", text(&set.label.host)),
        ("compression", shown(set.compression)),
        ("skip_if_unchanged", flag(set.skip_if_unchanged)),
        ("quiet", shown(schedule.quiet)),
        ("max_wait", shown(schedule.max_wait)),
        ("min_interval", shown(schedule.min_interval)),
        ("rescan", shown(schedule.rescan)),
        ("before", text(&hooks.before)),
        ("after", text(&hooks.after)),
        ("failed", text(&hooks.failed)),
        ("hook_timeout", shown(hooks.timeout)),
    ]
}

fn shown(value: Option<impl ToString>) -> Option<Value> {
    value.map(|value| Value::from(value.to_string()))
}

fn list<'a>(all: impl Iterator<Item = &'a str>) -> Option<Value> {
    let array: Array = all.collect();
    (!array.is_empty()).then_some(Value::Array(array))
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
