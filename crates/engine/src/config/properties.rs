//! Merging and printing, for any layers.

use proptest::prelude::*;

use super::*;

/// Trees of at most three levels over few names, so that layers meet each other.
fn tables() -> impl Strategy<Value = Table> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        "[a-z\"\\\\\n #=]{0,6}".prop_map(Value::String),
        prop::collection::vec(any::<i8>().prop_map(|v| Value::Integer(v.into())), 0..3).prop_map(Value::Array),
    ];
    let name = || prop::sample::select(vec!["a", "b", "c", "a.b", "\u{e9} \"x"]).prop_map(str::to_owned);
    let table = move |inner| prop::collection::btree_map(name(), inner, 0..4).prop_map(Table::from_iter);
    let tree = leaf.prop_recursive(3, 24, 4, move |inner| table(inner).prop_map(Value::Table));
    table(tree.boxed())
}

/// The value that the last layer with an opinion on `path` gives: the definition of a merge, without any merging.
fn expected(layers: &[Table], path: &KeyPath) -> Option<Value> {
    for layer in layers.iter().rev() {
        let mut at = Some(layer);
        for (depth, name) in path.parts().iter().enumerate() {
            match at.and_then(|table| table.get(name)) {
                None => break,
                Some(Value::Table(inner)) if depth + 1 < path.parts().len() => at = Some(inner),
                Some(value) if depth + 1 == path.parts().len() => return Some(value.clone()),
                // A value on the way hides everything that deeper layers hold below it.
                Some(_) => return None,
            }
        }
    }
    None
}

fn leaf_paths(table: &Table, at: &KeyPath, out: &mut Vec<KeyPath>) {
    for (name, value) in table {
        out.push(at.child(name));
        if let Value::Table(inner) = value {
            leaf_paths(inner, &at.child(name), out);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]
    #[test]
    fn merge_gives_each_path_the_last_opinion(layers in prop::collection::vec(tables(), 1..4)) {
        let mut layered = Layered::new();
        for (i, table) in layers.iter().enumerate() {
            let text = toml::to_string(table).unwrap();
            layered.push(&Layer::text(Source::Preset(i.to_string()), &text).unwrap());
        }
        let mut paths = Vec::new();
        leaf_paths(layered.table(), &KeyPath::default(), &mut paths);
        paths.sort();
        // Exactly the paths of the tree have an origin.
        prop_assert_eq!(&paths, &layered.paths().cloned().collect::<Vec<_>>());
        for path in &paths {
            let found = table_at(layered.table(), &path.parent()).and_then(|t| t.get(path.name())).unwrap();
            if found.is_table() {
                continue;
            }
            prop_assert_eq!(Some(found.clone()), expected(&layers, path));
            // The origin names the last layer that holds this very path.
            let Source::Preset(name) = &layered.origin(path).unwrap().source else { unreachable!() };
            let holds = |t: &Table| table_at(t, &path.parent()).is_some_and(|t| t.contains_key(path.name()));
            let last = layers.iter().rposition(holds);
            prop_assert_eq!(Some(name.parse::<usize>().unwrap()), last);
        }
        // No value of the top layer is lost.
        let mut top = Vec::new();
        leaf_paths(layers.last().unwrap(), &KeyPath::default(), &mut top);
        for path in top {
            prop_assert!(paths.contains(&path));
        }
    }

    #[test]
    fn merging_nothing_or_the_same_again_changes_nothing(table in tables()) {
        let layer = Layer::text(Source::Default, &toml::to_string(&table).unwrap()).unwrap();
        let mut layered = Layered::new();
        layered.push(&layer);
        layered.push(&Layer::text(Source::Default, "").unwrap());
        layered.push(&layer);
        prop_assert_eq!(layered.table(), &table);
    }

    #[test]
    fn annotated_text_reads_back_and_the_hash_ignores_order(table in tables()) {
        let mut layered = Layered::new();
        layered.push(&Layer::text(Source::Set("a\nb".to_owned()), &toml::to_string(&table).unwrap()).unwrap());
        let back: Table = toml::from_str(&layered.annotate(&table).unwrap()).unwrap();
        prop_assert_eq!(&back, &table);
        let reversed: Table = table.into_iter().rev().collect();
        prop_assert_eq!(sha256(&back).unwrap(), sha256(&reversed).unwrap());
    }
}
