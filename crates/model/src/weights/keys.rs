//! The one table between field names and the names of torchvision and Hugging Face.

/// Field path components that Rust spells differently: (field, public name).
const RENAMES: [(&str, &str); 5] = [
    ("self_attention", "self"),
    ("layer_norm", "LayerNorm"),
    ("gamma", "weight"),
    ("beta", "bias"),
    // Of timm's LayerScale; Burn's LayerNorm has a `gamma` of its own.
    ("factor", "gamma"),
];

/// The public name of a field path.
pub(super) fn public_name(path: &[&str]) -> String {
    path.iter().map(|part| rename(part)).collect::<Vec<_>>().join(".")
}

fn rename(part: &str) -> &str {
    RENAMES.iter().find(|(field, _)| *field == part).map_or(part, |(_, public)| public)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_paths_become_public_names() {
        let name = public_name(&["encoder", "layer", "0", "attention", "self_attention", "query", "weight"]);
        assert_eq!(name, "encoder.layer.0.attention.self.query.weight");
        assert_eq!(public_name(&["embeddings", "layer_norm", "gamma"]), "embeddings.LayerNorm.weight");
        assert_eq!(public_name(&["blocks", "0", "ls1", "factor"]), "blocks.0.ls1.gamma");
    }
}
