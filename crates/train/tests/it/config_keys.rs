//! The keys of recipes are public: scripts set them and run folders hold them. A key that is renamed or removed breaks
//! both, so the list is frozen in `golden/config_keys.txt`.

use std::collections::BTreeSet;

use engine::config::{Layer, flat};
use train::recipe::resolve;

/// Recipes and settings that together have every key: options that are absent by default, and every kind of every part.
const SETTINGS: [(&str, &[&str]); 10] = [
    (
        "convirt-phantom",
        &[
            "data.micro_batch_size=4",
            "data.mean=[0.5]",
            "data.std=[0.25]",
            "model.image.in_channels=1",
            "model.image.local_stage=3",
            "model.image.local_position=true",
            "model.frozen_text_layers=1",
            "data.text_cache_mib=1",
            "data.text_cache=states",
            "model.projection={kind = \"mlp\", hidden_size = 8}",
            "init.checkpoint=a",
            "init.image=b",
            "init.text=c",
            "optim.clip_norm=1.0",
            "optim.schedule={kind = \"warmup_cosine\", warmup_steps = 1}",
            "eval.early_stop=1",
        ],
    ),
    (
        "supervised-phantom",
        &[
            "optim.schedule={kind = \"plateau\", factor = 0.5, patience = 5}",
            "objective={kind = \"supervised\", dropout = 0.2}",
            "init.checkpoint=a",
        ],
    ),
    (
        "convirt-phantom",
        &[
            "data.source={kind = \"pairs\", manifest = \"pairs.csv\"}",
            "model.projection={kind = \"linear\"}",
            "init.checkpoint=a",
        ],
    ),
    (
        "convirt-phantom",
        &[
            "model.image={kind = \"vit\", image_size = 112, in_channels = 1, layer_scale = 0.1, intermediate_size = 64}",
            "init.checkpoint=a",
        ],
    ),
    (
        "convirt-phantom",
        &["data.image_size=224", "model.image={kind = \"swin\", in_channels = 1}", "init.checkpoint=a"],
    ),
    ("medclip-phantom", &["data.pairing.pool_size=7", "init.checkpoint=a"]),
    ("medclip-small", &["data.source.manifest=a.csv", "data.texts.manifest=b.csv", "init.checkpoint=a"]),
    ("mgca-phantom", &["model.text.zero_positions=true", "data.sentences_beside_report=2", "init.checkpoint=a"]),
    ("convirt-phantom", &["data.source={kind = \"mimic-cxr\", root = \"mimic\"}", "init.checkpoint=a"]),
    ("supervised-phantom", &["data.source={kind = \"mura\", root = \"mura\"}", "init.checkpoint=a"]),
];

#[test]
fn the_keys_of_recipes_are_the_frozen_ones() {
    let mut keys = BTreeSet::new();
    for (recipe, settings) in SETTINGS {
        let layers: Vec<Layer> = settings.iter().map(|text| Layer::set(text).unwrap()).collect();
        keys.extend(flat(&resolve(recipe, &layers).unwrap().recipe).unwrap().into_keys());
    }
    let frozen: BTreeSet<String> = include_str!("golden/config_keys.txt").lines().map(str::to_owned).collect();
    let listed = |keys: &BTreeSet<String>| keys.iter().cloned().collect::<Vec<_>>().join("\n");
    let (new, gone) = (&keys - &frozen, &frozen - &keys);
    assert!(
        keys == frozen,
        "new: {new:?}, gone: {gone:?}. If that is meant, golden/config_keys.txt becomes\n{}",
        listed(&keys)
    );
}
