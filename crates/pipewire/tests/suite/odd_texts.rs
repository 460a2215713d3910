//! Drop-ins with faults and oddities: both daemons load of each what the merge says.

use std::collections::BTreeMap;

use hosttune_pipewire::merge::Merged;
use hosttune_test_machine::PipeWire;

use crate::bench::{Tree, shipped};
use crate::daemon_files::{CLIENT, MAIN, VM, number, start};

/// Texts of drop-ins; `@` begins a key of their own in each.
const TEXTS: &[&[u8]] = &[
    b"context.properties = { @a = 1 @b = 2 }",
    b"context.properties = { @a = 1 @b = \"2\n\" }",
    b"context.properties = { @a = 1 @b = \"2\n\" @c = 3 }",
    b"context.properties = { @a = 1 @b = \"2\n\" @c = 3 }\ncontext.properties = { @d = 4 }",
    b"context.properties = { @a = 1 @b = \"2",
    b"context.properties = { @a = 1 @b = { x = \"2\n\" } @c = 3 }",
    b"context.properties = { @a = 1 @b = { x = \"2\\q\" } @c = 3 }",
    b"context.properties = { @a = 1 @b = { x = 3 @c = 3 }",
    b"context.properties = { @a = 1 @b = { x = 3 @c = 3 ",
    b"context.properties = { @a = 1 @b = [ x = 3 @c = 3 ",
    b"context.properties = { @a = 1 @b = 2",
    b"context.properties = { @a = 1 @b = ",
    b"context.properties = { @a = 1 @b",
    b"context.properties = { @a = 1 @b = \"\xff\" @c = 3 }",
    b"context.properties = { @a = 1 @b = \"\xc3\xa4\" @c = 3 }",
    b"context.properties = { @a = 1 @b = \xc3\xa4 @c = 3 }",
    b"context.properties = { @a = 1 @b = \xff @c = 3 }",
    b"context.properties = { @a = 1 @b = \"\t\" @c = 3 }",
    b"context.properties = { @a = 1 @b = \"x\ry\" @c = 3 }",
    b"context.properties = { @a = 1 @b\n = 2 \"@c\n\" = 3 @d = 4 }",
    b"context.properties = \"{ @a = 1 @b = \\\"2\\n\\\" }\"",
    b"context.properties = { @a = 1 } @b = \"\n",
    b"foo = \"\n\" context.properties = { @a = 1 }",
    b"context.properties = { @a = 1 } foo = \"\n\" context.properties = { @b = 1 }",
    b"context.properties = { @a = 1 @b = \"\x7f\" @c = 3 }",
    b"context.properties = { @a = 1 } context.modules = [ { name = \"x\n\" } ]",
    b"context.properties = { @a = 1 @b = 2 ] @c = 3 }",
    b"context.properties = [ { @a = 1 @b = 2 } ]",
    b"context.properties = { @a = 1 @b = 2 # }",
    b"context.properties = { @a = 1 @b = { } # x\n @c = 2 } # x",
    b"context.properties = { @a = 1 @b = null @c = \"null\" @a = null }",
    b"{ context.properties = { @a = 1 @b = \"\n\" } }",
    b"{ context.properties = { @a = 1 } } }",
    b"context.properties = { @a = 1 \"@b\" \"2\" '@c' 3 @d: 4, @e == 5 = @f = 6}",
    b"context.properties = { @a = \\u0041 @b = \"\\u0041\\ud83d\\ude00\" @c = \"a\\/b\\tc\" @d = a\\ @e = 5 }",
    b"context.properties = { @a = \"1\" @b = 2\"3\" @c = \"4\"5 @d = 6 }",
    b"context.properties = { @a = 1 @b = \"2\n\" } context.properties = { @c = 3 }",
    b"context.properties = { @a = 1 context.properties = { @b = 2 } @c = 3 }",
    b"my.context.properties = { @a = 1 } context.properties = { @b = \"x\n\" } zz.context.properties = { @c = 3 }",
    b"context.properties = { @a = 1 } your.context.properties = { @a = 2 @b = 2 } context.properties = { @a = 3 }",
    b"context.properties: { \"@a\": 1, \"@b\": true, \"@c\": [ 1, 2 ], \"@d\": { \"x\": null } }",
    b"{ \"context.properties\": { \"@a\": 1 } }",
    b"{ \"context.properties\": { \"@a\": 1 } } { \"context.properties\": { \"@b\": 1 } }",
    b"context.properties = { @a = 1 } } context.properties = { @b = 1 }",
    b"context.properties = { @a = 1 ] context.properties = { @b = 1 }",
    b"context.properties = { \"@a\" = 1 \"\" = 2 @b = \"\" }",
    b"context.properties = { @a = { } @b = [ ] @c = {} @d = [] }",
    b"context.properties = { @a = \"{ x = 1 }\" @b = \"[ 1 2 ]\" @c = \"\\\"x\\\"\" }",
    b"context.properties = { @a = 1, , , @b = = 2 : @c : : 3 }",
    b"context.properties = { @a = a#b @b = \"a#b\" @c = a\"b @d = 4 }",
    b"context.properties = { @a = a{b @b = 2 }",
    b"context.properties = { @a = a[b @b = 2 }",
    b"context.properties = { @a = a}b @b = 2 }",
    b"context.properties = { #@a = 1\n @b = 2 #}\n #@c = 3 }\n @d = 4 }",
    b"context.properties = { @a = 1 @b = 2\0 @c = 3 }",
    b"context.properties = { @a\0x = 1 @b = 2 }",
    b"context.properties = { @a = \"1\0\" @b = 2 }",
    b"context.properties = { @a = 1 \0 @b = 2 }\0 context.properties = { @c = 3 }",
    b"context.properties = { @a = \"\\x41\" @b = 2 }",
    b"context.properties = { @a = \"\\u00\" @b = 2 }",
    b"context.properties = { @a = \"\\u0000x\" @b = 2 }",
    b"context.properties = { @a = \"\\ud83d\" @b = \"\\ude00x\" @c = 3 }",
    b"context.properties = { @a = \"\xf0\x9f\x98\x80\" @b = \"\xe2\x82\" @c = 3 }",
    b"\xef\xbb\xbfcontext.properties = { @a = 1 }",
    b"context.properties = { @\xc3\xa4 = 1 @b = 2 }",
    b"context.properties = { @a = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]] @b = 2 }",
    b"context.properties = { @a = [ 1 = 2 ] @b = 2 }",
    b"context.properties = { @a = [ { x = 1 } { y = 2 } ] @b = 2 }",
    b"context.properties = { @a = { x = { y = [ \"\\q\" ] } } @b = 2 }",
    b"context.properties = { @a = 1 @b = { x = [ 1 } ] @c = 3 }",
    b"context.properties = { @a = 1 @b = [ { x = 1 ] } @c = 3 }",
    b"context.properties = { { @a = 1 } @b = 2 }",
    b"context.properties = { [ @a ] = 1 @b = 2 }",
    b"context.properties = @a context.properties = { @b = 2 }",
    b"context.properties { @a 1 @b 2 }",
    b"context.properties\n=\n{\n@a\n=\n1\n}\n",
    b"context.properties = { @a = null @b = NULL @c = nullx @d = \"null\" @e = [ null ] }",
    b"context.properties = { @a = 1 } # no newline at the end }",
    b"context.properties = { @a = 1 # x \r @b = 2 \r\n }",
    b"context.properties = { @a = 1 /* c */ @b = 2 }",
    b"context.properties = { @a = '1 2' @b = 2 }",
    b"context.properties = { @a = $HOME @b = %h @c = `x` @d = ~ }",
    b"context.properties = { @a = 0x40 @b = 1e3 @c = -0 @d = +1 @e = .5 }",
    b"context.properties = { @a = 1 vm.overrides = { @b = 2 } }\n",
    b"context.properties.rules = [ { matches = [ { clock.power-of-two-quantum = null } ] actions = { update-props = { @a = 1 } } } ]",
    b"context.properties.rules = [ { matches = [ { @x = null } ] actions = { update-props = { @a = 1 @b = \"2\n\" } } } ]",
    b"context.properties.rules = [ { matches = [ { @x = null } ] actions = { update-props = { @a = 1 } anything = { @b = 2 } } } { matches = [ { @a = 1 @b = !3 } ] actions = { update-props = { @c = 3 } } } ]",
    b"context.properties.rules = [ 3 { matches = [ { @x = null } ] actions = { update-props = { @a = 1 } } } ]",
    b"context.properties.rules = { matches = [ { @x = null } ] actions = { update-props = { @a = 1 } } }",
    b"context.properties.rules = [ { matches = { @x = null } actions = { update-props = { @a = 1 } } } ]",
    b"context.properties.rules = [ { actions = { update-props = { @a = 1 } } matches = [ { @x = null } ] } ]",
    b"context.properties.rules = [ { matches = [ { @x = null } { @y = \"!null\" } ] actions = { update-props = { @a = 1 @b = null } } } ]",
    b"context.properties = { @x = 1 @y = \"a b\" @z = { q = 1 } } context.properties.rules = [ { matches = [ { @y = \"a b\" @x = 1 } ] actions = { update-props = { @a = 1 @x = null } } } { matches = [ { @z = \"{ q = 1 }\" } ] actions = { update-props = { @b = 1 } } } { matches = [ { @z = { q = 1 } } ] actions = { update-props = { @c = 1 } } } { matches = [ { @y = \"!a b\" } ] actions = { update-props = { @d = 1 } } } { matches = [ { @y = \"!x\" } ] actions = { update-props = { @e = 1 } } } ]",
    b"context.properties = { @x = \"\" } context.properties.rules = [ { matches = [ { @x = \"\" } ] actions = { update-props = { @a = 1 } } } { matches = [ { @x = null } ] actions = { update-props = { @b = 1 } } } { matches = [ { @x = \"!\" } ] actions = { update-props = { @c = 1 } } } ]",
];

/// The properties of a text, by their keys without what tells the texts apart. Of a value only the first
/// line: `pw-cli` prints the others on lines of their own.
fn of_text<'p>(
    number: usize,
    properties: impl Iterator<Item = (&'p str, &'p str)>,
) -> BTreeMap<&'p str, &'p str> {
    let prefix = format!("text.{number}.");
    properties
        .filter_map(|(key, value)| {
            let value = value.lines().next().unwrap_or_default();
            let key = key.strip_prefix(&prefix)?;
            Some((key, value.trim_matches('"')))
        })
        .collect()
}

/// All texts at once: one fault must not reach another file.
#[test]
fn faulty_drop_ins_are_loaded_as_computed() {
    for version in PipeWire::ALL {
        let [main, client] = ["pipewire.conf", "client.conf"].map(|name| shipped(version, name));
        let drop_ins: Vec<(String, Vec<u8>)> = TEXTS
            .iter()
            .enumerate()
            .map(|(number, text)| {
                let own = format!("text.{number}.");
                let parts: Vec<&[u8]> = text.split(|byte| *byte == b'@').collect();
                let path = format!("/etc/pipewire/pipewire.conf.d/{number:03}-x.conf");
                (path, parts.join(own.as_bytes()))
            })
            .collect();
        let mut files: Vec<(&str, &[u8])> = vec![(MAIN, &main), (CLIENT, &client)];
        files.extend(
            drop_ins
                .iter()
                .map(|(path, text)| (path.as_str(), text.as_slice())),
        );
        let tree = Tree::new(&files, &[]);
        let shown = start(version, &tree);
        let merged = Merged::of(number(version), &tree.files("pipewire.conf"));
        let ours = merged.properties("context.properties", VM.as_deref());
        let mut differing = Vec::new();
        let mut with_properties = 0;
        for (number, text) in TEXTS.iter().enumerate() {
            let ours = of_text(
                number,
                ours.properties
                    .iter()
                    .map(|property| (property.key.as_str(), property.value.as_str())),
            );
            let loaded = shown.loaded.iter();
            let shown = of_text(
                number,
                loaded.map(|(key, value)| (key.as_str(), value.as_str())),
            );
            with_properties += usize::from(!shown.is_empty());
            if ours != shown {
                let text = String::from_utf8_lossy(text);
                differing.push(format!("{number} {text:?}: {ours:?}, the daemon {shown:?}"));
            }
        }
        assert!(
            differing.is_empty(),
            "{version:?}:\n{}",
            differing.join("\n")
        );
        assert!(with_properties > 30, "{version:?}: {with_properties}");
    }
}
