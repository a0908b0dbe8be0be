//! Rules as a manifest keeps them, and rules made of these again.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{Beside, Case, Marker, Options, Pattern, PatternError, Rules};
use crate::tree::run_rules::{RunPattern, RunRules};

impl Rules {
    /// For the manifest of a run; none if it has no room for so many.
    pub fn record(&self, one_file_system: bool) -> Option<RunRules> {
        let pattern = |pattern: &Pattern| RunPattern {
            text: pattern.text().to_vec(),
            any_case: pattern.case() == Case::Ignored,
        };
        let rules = RunRules {
            patterns: self.patterns.all().iter().map(pattern).collect(),
            caches: self.caches,
            if_present: self
                .if_present
                .iter()
                .map(|marker| (marker.name.clone(), marker.header.clone()))
                .collect(),
            beside: self
                .beside
                .iter()
                .map(|rule| (rule.name.clone(), rule.marker.clone()))
                .collect(),
            larger_than: self.larger_than,
            git_ignore: self.git_ignore,
            one_file_system,
            own: self.own.all().iter().map(|path| path.text().to_vec()).collect(),
        };
        rules.fit().then_some(rules)
    }

    /// The rules of a run, from its manifest.
    pub fn recorded(rules: &RunRules) -> Result<Self, PatternError> {
        let pattern = |pattern: &RunPattern| {
            let case = if pattern.any_case { Case::Ignored } else { Case::Sensitive };
            Pattern::parse(&pattern.text, case)
        };
        let path = |path: &Vec<u8>| PathBuf::from(OsStr::from_bytes(path));
        let marker = |(name, header): &(Vec<u8>, Vec<u8>)| Marker {
            name: name.clone(),
            header: header.clone(),
        };
        let beside = |(name, marker): &(Vec<u8>, Vec<u8>)| Beside {
            name: name.clone(),
            marker: marker.clone(),
        };
        Ok(Self::new(Options {
            patterns: rules.patterns.iter().map(pattern).collect::<Result<_, _>>()?,
            caches: rules.caches,
            if_present: rules.if_present.iter().map(marker).collect(),
            beside: rules.beside.iter().map(beside).collect(),
            larger_than: rules.larger_than,
            git_ignore: rules.git_ignore,
            own: rules.own.iter().map(path).collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_come_back_as_they_were() {
        let parse = |text: &str, case| Pattern::parse(text.as_bytes(), case).unwrap();
        let rules = Rules::new(Options {
            patterns: vec![
                parse("*.TMP", Case::Ignored),
                parse("!/a/b", Case::Sensitive),
                parse("Makefile", Case::Sensitive),
            ],
            caches: true,
            if_present: vec![Marker { name: b".no".to_vec(), header: b"x".to_vec() }],
            beside: vec![Beside { name: b"target".to_vec(), marker: b"Cargo.toml".to_vec() }],
            larger_than: Some(7),
            git_ignore: true,
            own: vec![PathBuf::from("/home/me/*"), PathBuf::from("/v")],
        });
        for one_file_system in [false, true] {
            let recorded = rules.record(one_file_system).unwrap();
            assert_eq!(recorded.one_file_system, one_file_system);
            let again = Rules::recorded(&recorded).unwrap();
            // The digest covers everything that the rules are made of.
            assert_eq!(again.digest, rules.digest);
        }
        let many = vec![parse("x", Case::Sensitive); 5000];
        let many = Rules::new(Options { patterns: many, ..Options::default() });
        assert_eq!(many.record(false), None);
    }
}
