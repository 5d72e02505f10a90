//! Hadoop's configuration files: properties as XML.

use std::collections::BTreeMap;

/// Properties by name: sorted, so that equal properties are equal bytes on every node.
pub type Properties = BTreeMap<String, String>;

/// The file's text.
pub fn document(properties: &Properties) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\"?>\n\
         <?xml-stylesheet type=\"text/xsl\" href=\"configuration.xsl\"?>\n\
         <!-- Managed by Puppet: changes made here are lost. -->\n\
         <configuration>\n",
    );
    for (name, value) in properties {
        text.push_str("  <property>\n    <name>");
        escape(name, &mut text);
        text.push_str("</name>\n    <value>");
        escape(value, &mut text);
        text.push_str("</value>\n  </property>\n");
    }
    text.push_str("</configuration>\n");
    text
}

/// Whether XML 1.0 can hold the text at all, escaped or not.
pub fn can_hold(text: &str) -> bool {
    !text
        .chars()
        .any(|c| (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            // A parser would make a line feed of it.
            '\r' => into.push_str("&#13;"),
            c => into.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(properties: &[(&str, &str)], expected: &str) {
        let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let text = document(&properties);
        let (_, body) = text.split_once("<configuration>\n").unwrap();
        assert_eq!(body, format!("{expected}</configuration>\n"));
    }

    #[test]
    fn properties_are_sorted_and_escaped() {
        check(&[], "");
        check(
            &[("b", "1 < 2 && ]]>"), ("a", "x\ry")],
            "  <property>\n    <name>a</name>\n    <value>x&#13;y</value>\n  </property>\n  \
             <property>\n    <name>b</name>\n    <value>1 &lt; 2 &amp;&amp; ]]&gt;</value>\n  </property>\n",
        );
    }

    #[test]
    fn what_xml_cannot_hold_is_known() {
        assert!(can_hold("tab\t, ü, line\n"));
        for bad in ["\0", "\u{1b}[31m", "\u{fffe}"] {
            assert!(!can_hold(bad), "{bad:?}");
        }
    }
}
