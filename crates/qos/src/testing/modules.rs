//! The modules of this kernel: the kinds that they provide, and what uses them.

use hosttune_modules::testing::Beside;

use super::qdiscs::Root;
use super::{Kernel, State};

/// The kinds that a module provides: links, queueing disciplines, classifiers or actions.
fn kinds(module: &str) -> Vec<&str> {
    match module {
        "sch_ingress" => vec!["ingress", "clsact"],
        _ => vec![
            ["sch_", "cls_", "act_"]
                .iter()
                .find_map(|family| module.strip_prefix(family))
                .unwrap_or(module),
        ],
    }
}

/// This kernel loads no module by itself: it does not know a kind whose module is not loaded.
impl Beside for Kernel {
    fn uses(&self, module: &str) -> usize {
        let state = self.state();
        kinds(module)
            .iter()
            .map(|kind| state.uses(module, kind))
            .sum()
    }

    fn links(&self, kind: &str) -> Vec<String> {
        let state = self.state();
        let of_kind = state.links.iter().filter(|link| link.kind == kind);
        of_kind.map(|link| link.name.clone()).collect()
    }

    fn loaded(&mut self, module: &str, parameters: &[String]) {
        let mut state = self.state();
        state
            .kinds
            .extend(kinds(module).into_iter().map(str::to_owned));
        if module == "ifb" {
            let number = parameters
                .iter()
                .rev()
                .find_map(|parameter| parameter.strip_prefix("numifbs=")?.parse().ok());
            for number in 0..number.unwrap_or(2) {
                state.add(&format!("ifb{number}"), "ifb", 1, false);
            }
        }
    }

    /// Links of its kind are removed with it, no matter who created them.
    fn unloaded(&mut self, module: &str) {
        let mut state = self.state();
        for kind in kinds(module) {
            state.kinds.remove(kind);
        }
        if module == "ifb" {
            let (gone, stay) = state.links.drain(..).partition(|link| link.kind == "ifb");
            state.links = stay;
            let gone: Vec<super::links::Device> = gone;
            for gone in gone {
                for link in &mut state.links {
                    for classifier in &mut link.classifiers {
                        classifier.lose(gone.index);
                    }
                }
            }
            state.black_hole |= state.loses_packets();
        }
    }
}

impl State {
    /// Number of uses of a kind, not counting links.
    fn uses(&self, module: &str, kind: &str) -> usize {
        let of_link = |link: &super::links::Device| {
            if module.starts_with("cls_") {
                let classifiers = link.classifiers.iter();
                classifiers.filter(|one| one.is_of(kind)).count()
            } else if module.starts_with("act_") {
                let classifiers = link.classifiers.iter();
                classifiers.map(super::filters::Classifier::mirreds).sum()
            } else if module.starts_with("sch_") {
                let root = match &link.root {
                    Root::Explicit(root) => std::iter::once(root)
                        .chain(root.children.values())
                        .filter(|queue| queue.kind == kind)
                        .count(),
                    Root::Default(default) => usize::from(default == kind),
                    Root::Noop => 0,
                };
                root + usize::from(link.hook.kind.as_deref() == Some(kind))
            } else {
                0
            }
        };
        self.links.iter().map(of_link).sum()
    }
}
