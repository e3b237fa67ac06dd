//! Tokenisation against transformers: `scripts/golden/wordpiece.py`. Ids must be equal.

use data::source::phantom::training_sentences;
use data::text::{Tokenizer, TokenizerConfig};
use serde_json::Value;

use crate::support::golden_path;

#[test]
fn ids_are_those_of_transformers() {
    let golden: Value = serde_json::from_slice(&std::fs::read(golden_path("wordpiece.json")).unwrap()).unwrap();
    let load = |lowercase| Tokenizer::load(&TokenizerConfig { lowercase, ..TokenizerConfig::default() }).unwrap();
    let (uncased, cased) = (load(true), load(false));
    let cases = golden.as_array().unwrap();
    assert!(cases.len() > 50);
    for case in cases {
        let tokenizer = if case["lowercase"].as_bool().unwrap() { &uncased } else { &cased };
        let length = case["max_length"].as_u64().unwrap() as usize;
        let ids = tokenizer.encode(case["text"].as_str().unwrap(), length).unwrap().input_ids;
        let expected: Vec<u64> = case["input_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        assert_eq!(ids.into_iter().map(u64::from).collect::<Vec<_>>(), expected, "{case}");
    }
}

#[test]
fn every_word_of_the_phantoms_is_one_token() {
    let tokenizer = Tokenizer::builtin().unwrap();
    let sentences = training_sentences();
    assert!(sentences.len() > 50);
    for sentence in &sentences {
        for word in sentence.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let ids = tokenizer.encode(word, 64).unwrap().input_ids;
            assert!(ids.len() == 3 && Some(ids[1]) != tokenizer.id("[UNK]"), "{word}: {} tokens", ids.len() - 2);
        }
    }
}

#[test]
fn a_tokenizer_file_of_the_library_is_read() {
    let dir = tempfile::tempdir().unwrap();
    // Byte-pair encoding with its own markers, truncation and padding; the last two must not be applied.
    let json = r#"{"version":"1.0","truncation":{"max_length":2,"strategy":"LongestFirst","stride":0},
        "padding":{"strategy":{"Fixed":9},"direction":"Right","pad_to_multiple_of":null,"pad_id":1,"pad_type_id":0,
        "pad_token":"<pad>"},"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},
        "post_processor":{"type":"RobertaProcessing","sep":["</s>",2],"cls":["<s>",0],"trim_offsets":true,
        "add_prefix_space":true},"decoder":null,"model":{"type":"BPE","dropout":null,"unk_token":null,
        "continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,
        "vocab":{"<s>":0,"<pad>":1,"</s>":2,"a":3,"b":4,"ab":5},"merges":["a b"]}}"#;
    data::fsx::write_atomic(&dir.path().join("tokenizer.json"), json.as_bytes()).unwrap();
    let tokenizer = Tokenizer::from_path(dir.path()).unwrap();
    assert_eq!(tokenizer.encode("ab a b ab", 64).unwrap().input_ids, [0, 5, 3, 4, 5, 2]);
    assert_eq!(tokenizer.encode("ab a b ab", 4).unwrap().input_ids, [0, 5, 3, 2]);
    assert_eq!((tokenizer.vocab_size(), tokenizer.pad_id()), (6, 1));
}
