//! `[rollout]`, `[[quorum]]` and `[plugin_keys]`: how a set of plugins goes live, and whose plugins may.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ::rollout::{Merge, QuorumRule, SignatureError, SigningKeys};

use super::reader::Section;

/// How a set of plugins goes live.
#[derive(Clone, Debug)]
pub struct Rollout {
    /// Sets kept ready to go back to.
    pub keep: u32,
    /// How long after a swap a set that does badly is taken back by itself.
    pub window: Duration,
    /// Stage and swap when the configuration or a component's file changes.
    pub watch: bool,
    /// On a catalog master: take the plugin sets of the CA.
    pub follow: bool,
    /// On a CA: tell catalog masters of the live set.
    pub publish: bool,
    /// Refuse components that none of the keys has signed. So it is wherever there is a key, unless said otherwise.
    pub require_signature: bool,
    /// Calls of a shadowed set at once.
    pub shadow_slots: u32,
    /// What several classifiers that know a node come to.
    pub merge: Merge,
}

/// Reads `[rollout]`.
pub fn read(section: Section<'_, '_>, is_ca: bool, has_keys: bool) -> Rollout {
    let merge = section.parsed("merge", |text| match text {
        "first-match" => Ok(Merge::FirstMatch),
        "union" => Ok(Merge::Union),
        other => Err(format!("is {other:?}; it is `first-match` or `union`")),
    });
    let out = Rollout {
        keep: section.number("keep", 1..=100).unwrap_or(10),
        window: section.duration("window").unwrap_or(Duration::from_secs(300)),
        watch: section.boolean("watch").unwrap_or(true),
        follow: section.boolean("follow").unwrap_or(false),
        publish: section.boolean("publish").unwrap_or(true),
        require_signature: section.boolean("require_signature").unwrap_or(has_keys),
        shadow_slots: section.number("shadow_slots", 1..=1_000).unwrap_or(4),
        merge: merge.unwrap_or(Merge::FirstMatch),
    };
    if is_ca && out.follow {
        section.problem("follow", "is for catalog masters; with it goes `ca.enabled = false`");
    }
    if !is_ca && section.has("publish") {
        section.problem("publish", "is the CA's to say, and `ca.enabled` is false");
    }
    if out.require_signature && !has_keys {
        section.problem("require_signature", "asks for signatures, and [plugin_keys] names nobody's key");
    }
    section.finish();
    out
}

/// Reads `[[quorum]]`: which names need more approvals than one.
pub fn quorum(top: &Section<'_, '_>) -> Vec<QuorumRule> {
    let sections = top.sections("quorum").unwrap_or_default();
    let mut rules = Vec::new();
    for section in &sections {
        for key in ["pattern", "require"].into_iter().filter(|key| !section.has(key)) {
            section.problem_here(format_args!("has no `{key}`"));
        }
        let pattern = section.string("pattern").unwrap_or_default();
        let require = section.number("require", 1..=64);
        rules.push(QuorumRule { pattern, require: require.unwrap_or(1) });
    }
    // One rule may keep another from being reached: they are judged together.
    let judged = decide::Rules::parse(rules.iter().map(|rule| (&rule.pattern, rule.require)));
    for error in judged.err().unwrap_or_default() {
        let section = error.rule().checked_sub(1).and_then(|n| sections.get(n));
        if let Some(section) = section.filter(|section| section.has("pattern")) {
            section.problem_as_is("pattern", error);
        }
    }
    sections.into_iter().for_each(Section::finish);
    rules
}

/// Reads `[plugin_keys]`: whose signatures are good.
pub fn plugin_keys(top: &Section<'_, '_>, state_dir: &Path) -> SigningKeys {
    let mut sound = BTreeMap::new();
    top.named_strings("plugin_keys", |name, text| {
        let inline = text.starts_with("ed25519:");
        let place = if inline { text.to_owned() } else { state_dir.join(text).display().to_string() };
        // One by one, for each has a line of its own.
        let key = BTreeMap::from([(name.to_owned(), place)]);
        match SigningKeys::parse(&key).err().into_iter().flatten().next() {
            Some(SignatureError::Key { reason, .. }) => Err(reason),
            Some(other) => Err(other.to_string()),
            None => {
                sound.extend(key);
                Ok(())
            }
        }
    });
    SigningKeys::parse(&sound).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Defaults};
    use super::*;

    const KEY: &str = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn parse(text: &str) -> Result<Config, Vec<String>> {
        let defaults = Defaults::new("/state".into(), "m1.example.test").unwrap();
        let read = Config::parse(text, &defaults);
        read.map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn everything_has_a_default() {
        let config = parse("").unwrap();
        let rollout = &config.rollout;
        assert_eq!((rollout.keep, rollout.window.as_secs(), rollout.shadow_slots), (10, 300, 4));
        assert_eq!((rollout.watch, rollout.follow, rollout.publish), (true, false, true));
        assert!(!rollout.require_signature && config.plugin_keys.is_empty());
        assert_eq!((config.plugins.merge, config.plugins.quorum.len()), (Merge::FirstMatch, 0));
    }

    #[test]
    fn what_is_set_is_read() {
        let text = format!(
            "[rollout]\nkeep = 3\nwindow = \"1m\"\nwatch = false\nrequire_signature = true\nmerge = \"union\"\n\
             [[quorum]]\npattern = \"db-*\"\nrequire = 2\n[[quorum]]\npattern = \"*\"\nrequire = 1\n\
             [plugin_keys]\nrelease = \"{KEY}\"\n"
        );
        let config = parse(&text).unwrap();
        assert_eq!((config.rollout.keep, config.rollout.window.as_secs()), (3, 60));
        assert!(!config.rollout.watch && config.rollout.require_signature && !config.plugin_keys.is_empty());
        let keys = format!("[plugin_keys]\nrelease = \"{KEY}\"\n");
        assert!(parse(&keys).unwrap().rollout.require_signature, "whoever names keys means them");
        let lenient = parse(&format!("{keys}[rollout]\nrequire_signature = false\n")).unwrap();
        assert!(!lenient.rollout.require_signature);
        let rules: Vec<_> = config.plugins.quorum.iter().map(|r| (r.pattern.as_str(), r.require)).collect();
        assert_eq!((config.plugins.merge, rules), (Merge::Union, vec![("db-*", 2), ("*", 1)]));
        let follows = "[ca]\nenabled = false\nserver = \"ca\"\n[rollout]\nfollow = true\n";
        assert!(parse(follows).unwrap().rollout.follow);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        fn check(text: &str, expected: &str) {
            let said = parse(text).err().unwrap_or_default().join("\n");
            assert!(said.contains(expected), "{text}: {said}");
        }
        check(
            "[rollout]\nshadow_slot = 1\n",
            "line 2, column 15: `rollout.shadow_slot` is no setting; did you mean `shadow_slots`?",
        );
        check("[rollout]\nkeep = 0\n", "line 2, column 8: `rollout.keep` must lie between 1 and 100");
        check(
            "[rollout]\nmerge = \"first\"\n",
            "line 2, column 9: `rollout.merge` is \"first\"; it is `first-match` or `union`",
        );
        check("[rollout]\nfollow = true\n", "line 2, column 10: `rollout.follow` is for catalog masters");
        let follows = "[ca]\nenabled = false\nserver = \"ca\"\n[rollout]\npublish = true\n";
        check(follows, "line 5, column 11: `rollout.publish` is the CA's to say");
        check(
            "[rollout]\nrequire_signature = true\n",
            "line 2, column 21: `rollout.require_signature` asks for signatures",
        );
        check(
            "[[quorum]]\npattern = \"Db-*\"\nrequire = 2\n",
            "line 2, column 11: quorum rule 1: \"Db-*\" has the character",
        );
        let hidden = "[[quorum]]\npattern = \"*\"\nrequire = 2\n[[quorum]]\npattern = \"a*\"\nrequire = 1\n";
        check(hidden, "line 5, column 11: quorum rule 2: \"a*\" is never reached");
        check("[[quorum]]\nrequire = 2\n", "line 1, column 1: `quorum[0]` has no `pattern`");
        check("[[quorum]]\npattern = \"*\"\n", "`quorum[0]` has no `require`");
        check(
            "[[quorum]]\npattern = \"*\"\nrequire = 0\n",
            "line 3, column 11: `quorum[0].require` must lie between",
        );
        check("[[quorum]]\npattern = \"*\"\nrequire = 1\nrequires = 2\n", "did you mean `require`?");
        check("[plugin_keys]\na = \"ed25519:AAAA\"\n", "line 2, column 5: `plugin_keys.a` has 3 bytes");
        check(
            "[plugin_keys]\na = \"gone.pem\"\n",
            "line 2, column 5: `plugin_keys.a` cannot be read from /state/gone.pem",
        );
        check("[plugin_keys]\na = 3\n", "line 2, column 5: `plugin_keys.a` must be a string");
    }
}
