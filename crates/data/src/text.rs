//! Text to token ids: BERT's WordPiece from `vocab.txt`, or whatever a `tokenizer.json` describes.
//!
//! A tokenizer file is data from outside: its size is capped, only WordPiece and BPE models are accepted, and a panic
//! of the library ends in an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{AddedToken, PostProcessor};

use crate::error::{DataError, Result, TokenizerFault};
use crate::fsx;

/// Largest accepted tokenizer file (bytes).
const MAX_FILE_BYTES: u64 = 32 << 20;
/// Largest accepted vocabulary; published ones have a quarter of a million tokens.
const MAX_VOCAB: usize = 1 << 22;
/// The vocabulary of this crate: general English and the words of chest radiograph reports, in lower case.
pub const BUILTIN_VOCAB: &str = include_str!("../assets/vocab.txt");

/// Which tokenizer a recipe uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerConfig {
    /// A `tokenizer.json`, a `vocab.txt` or a folder that holds either (the first wins); empty for the built-in
    /// vocabulary.
    pub path: PathBuf,
    /// Whether text is lower-cased and stripped of accents before a `vocab.txt` is applied. A `tokenizer.json` says
    /// so itself.
    pub lowercase: bool,
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self { path: PathBuf::new(), lowercase: true }
    }
}

/// The token ids of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Ids with the special tokens (`[CLS] ... [SEP]`), not padded.
    pub input_ids: Vec<u32>,
}

/// A loaded tokenizer; cheap to share between threads by reference.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    source: PathBuf,
    sha256: String,
    vocab_size: usize,
    pad_id: u32,
    num_special: usize,
}

impl Tokenizer {
    /// The tokenizer that a recipe names.
    ///
    /// # Errors
    /// As [`Tokenizer::from_path`].
    pub fn load(config: &TokenizerConfig) -> Result<Self> {
        if config.path.as_os_str().is_empty() {
            return Self::from_vocab(Path::new("builtin"), BUILTIN_VOCAB.as_bytes(), config.lowercase);
        }
        let path = find_file(&config.path)?;
        Self::from_bytes(&path, &fsx::read_capped(&path, MAX_FILE_BYTES)?, config.lowercase)
    }

    /// The tokenizer of bytes that are, or would be, those of `path`: its ending tells a `tokenizer.json` from a
    /// `vocab.txt`, to which `lowercase` applies.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`].
    pub fn from_bytes(path: &Path, bytes: &[u8], lowercase: bool) -> Result<Self> {
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
            Self::from_json(path, bytes)
        } else {
            Self::from_vocab(path, bytes, lowercase)
        }
    }

    /// The tokenizer of a `tokenizer.json`, a `vocab.txt` (lower-cased) or a folder that holds either.
    ///
    /// # Errors
    /// [`DataError::Io`] and [`DataError::FileTooLarge`] for the file, [`DataError::Tokenizer`] for its content.
    pub fn from_path(path: &Path) -> Result<Self> {
        Self::load(&TokenizerConfig { path: path.to_path_buf(), ..TokenizerConfig::default() })
    }

    /// The tokenizer of the vocabulary that ships with this crate (lower case).
    ///
    /// # Errors
    /// None with the file as shipped.
    pub fn builtin() -> Result<Self> {
        Self::load(&TokenizerConfig::default())
    }

    fn from_json(path: &Path, bytes: &[u8]) -> Result<Self> {
        let fail = |fault| DataError::Tokenizer { path: path.to_path_buf(), fault };
        let json: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|e| fail(TokenizerFault::Library(Box::new(e))))?;
        let model = json.pointer("/model/type").and_then(serde_json::Value::as_str);
        if !matches!(model, Some("WordPiece" | "BPE")) {
            return Err(fail(TokenizerFault::Model));
        }
        let inner = contain(|| tokenizers::Tokenizer::from_bytes(bytes)).map_err(fail)?;
        let padding = inner.get_padding().map(|p| p.pad_id);
        let pad_id = padding
            .or_else(|| ["[PAD]", "<pad>", "<|endoftext|>"].iter().find_map(|t| inner.token_to_id(t)))
            .ok_or_else(|| fail(TokenizerFault::Special("a padding token ([PAD] or <pad>)")))?;
        Self::finish(path, bytes, inner, pad_id)
    }

    fn from_vocab(path: &Path, bytes: &[u8], lowercase: bool) -> Result<Self> {
        let fail = |fault| DataError::Tokenizer { path: path.to_path_buf(), fault };
        let text = std::str::from_utf8(bytes).map_err(|e| fail(TokenizerFault::Library(Box::new(e))))?;
        let mut vocab = tokenizers::models::bpe::Vocab::default();
        for (id, line) in (0_u32..).zip(text.lines()) {
            if vocab.insert(line.trim_end().to_owned(), id).is_some() {
                return Err(fail(TokenizerFault::Repeated(id as usize + 1)));
            }
        }
        let special = |token: &'static str| vocab.get(token).copied().ok_or(TokenizerFault::Special(token));
        let (pad_id, cls, sep) = (|| Ok((special("[PAD]")?, special("[CLS]")?, special("[SEP]")?)))().map_err(fail)?;
        special("[UNK]").map_err(fail)?;
        let has_mask = vocab.contains_key("[MASK]");
        let inner = contain(|| {
            let mut inner = tokenizers::Tokenizer::new(WordPiece::builder().vocab(vocab).build()?);
            // As BERT: accents go where the case goes.
            inner.with_normalizer(Some(BertNormalizer::new(true, true, None, lowercase)))?;
            inner.with_pre_tokenizer(Some(BertPreTokenizer));
            inner.with_post_processor(Some(BertProcessing::new(("[SEP]".into(), sep), ("[CLS]".into(), cls))));
            let specials = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"];
            let known = specials.into_iter().filter(|&t| t != "[MASK]" || has_mask);
            inner.add_special_tokens(known.map(|t| AddedToken::from(t, true)))?;
            Ok(inner)
        })
        .map_err(fail)?;
        Self::finish(path, bytes, inner, pad_id)
    }

    fn finish(path: &Path, bytes: &[u8], mut inner: tokenizers::Tokenizer, pad_id: u32) -> Result<Self> {
        let fail = |fault| DataError::Tokenizer { path: path.to_path_buf(), fault };
        // Lengths are the batch's business, whatever the file says.
        contain(|| inner.with_padding(None).with_truncation(None).map(|_| ())).map_err(fail)?;
        let vocab_size = inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        if vocab_size > MAX_VOCAB {
            return Err(fail(TokenizerFault::TooMany(vocab_size, MAX_VOCAB)));
        }
        // A table of embeddings has a row for each token: special ones, which a file gives by id, must find theirs.
        let frame = contain(|| inner.encode_fast("", true)).map_err(fail)?;
        if let Some(&id) = frame.get_ids().iter().chain([&pad_id]).find(|&&id| id as usize >= vocab_size) {
            return Err(fail(TokenizerFault::Id(id, vocab_size)));
        }
        let num_special = inner.get_post_processor().map_or(0, |p| p.added_tokens(false));
        let sha256 = fsx::sha256_hex(bytes);
        Ok(Self { inner, source: path.to_path_buf(), sha256, vocab_size, pad_id, num_special })
    }

    /// The ids of a text, at most `max_length` with the special tokens; what is cut is text, never `[SEP]`.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] where `max_length` leaves no room for one token of text, or the library fails.
    pub fn encode(&self, text: &str, max_length: usize) -> Result<Encoded> {
        let fail = |fault| DataError::Tokenizer { path: self.source.clone(), fault };
        let room = max_length.saturating_sub(self.num_special);
        if room == 0 {
            return Err(fail(TokenizerFault::Length(max_length, self.num_special)));
        }
        let encoding = contain(|| {
            let mut encoding = self.inner.encode_fast(text, false)?;
            encoding.truncate(room, 0, TruncationDirection::Right);
            self.inner.post_process(encoding, None, true)
        })
        .map_err(fail)?;
        Ok(Encoded { input_ids: encoding.get_ids().to_vec() })
    }

    /// The ids of a text without special tokens, at any length.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] where the library fails.
    pub fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        let fail = |fault| DataError::Tokenizer { path: self.source.clone(), fault };
        let encoding = contain(|| self.inner.encode_fast(text, false)).map_err(fail)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Rows that an embedding table needs: the largest id plus one.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// For each id whether its token goes on with the word before it (`##` of a `WordPiece` vocabulary).
    pub fn continuations(&self) -> Vec<bool> {
        let ids = (0_u32..).take(self.vocab_size);
        ids.map(|id| self.inner.id_to_token(id).is_some_and(|token| token.starts_with("##"))).collect()
    }

    /// The token of an id, `None` where there is none.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Id of the padding token.
    pub fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// Id of a token, `None` where the vocabulary lacks it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The file that it was read from, `None` for the built-in vocabulary.
    pub fn file(&self) -> Option<&Path> {
        (self.source != Path::new("builtin")).then_some(self.source.as_path())
    }

    /// SHA-256 of the file, to tie a checkpoint to its vocabulary.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

fn find_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    ["tokenizer.json", "vocab.txt"]
        .iter()
        .map(|name| path.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| DataError::Tokenizer { path: path.to_path_buf(), fault: TokenizerFault::Missing })
}

/// Runs the library and turns its errors and its panics into faults.
fn contain<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, TokenizerFault> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(TokenizerFault::Library),
        Err(_) => Err(TokenizerFault::Panicked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, content: &str) -> PathBuf {
        let path = dir.join(name);
        fsx::write_atomic(&path, content.as_bytes()).unwrap();
        path
    }

    #[test]
    fn the_builtin_vocabulary_is_a_bert_vocabulary() {
        let lines: Vec<&str> = BUILTIN_VOCAB.lines().collect();
        assert_eq!(&lines[..5], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]);
        let tokenizer = Tokenizer::builtin().unwrap();
        assert_eq!((tokenizer.vocab_size(), tokenizer.pad_id()), (lines.len(), 0));
        let continuing: Vec<bool> = lines.iter().map(|line| line.starts_with("##")).collect();
        assert_eq!(tokenizer.continuations(), continuing);
        assert_eq!((tokenizer.token(2).as_deref(), tokenizer.token(u32::MAX)), (Some("[CLS]"), None));
        for letter in 'a'..='z' {
            assert!(tokenizer.id(&letter.to_string()).is_some() && tokenizer.id(&format!("##{letter}")).is_some());
        }
    }

    #[test]
    fn a_long_text_is_cut_and_keeps_its_end_mark() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let full = tokenizer.encode("no pleural effusion or pneumothorax", 32).unwrap().input_ids;
        assert_eq!(full.len(), 7);
        let cut = tokenizer.encode("no pleural effusion or pneumothorax", 5).unwrap().input_ids;
        assert_eq!(cut, [&full[..4], &full[6..]].concat());
        assert!(matches!(
            tokenizer.encode("no", 2),
            Err(DataError::Tokenizer { fault: TokenizerFault::Length(2, 2), .. })
        ));
    }

    #[test]
    fn case_is_kept_where_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nLung\nlung\n\u{e9}\ne\n");
        let ids = |lowercase| {
            let tokenizer = Tokenizer::load(&TokenizerConfig { path: dir.path().into(), lowercase }).unwrap();
            tokenizer.encode("Lung \u{e9}", 16).unwrap().input_ids
        };
        assert_eq!(ids(true), [2, 5, 7, 3]);
        assert_eq!(ids(false), [2, 4, 6, 3]);
        assert_eq!(Tokenizer::from_path(&path).unwrap().sha256(), fsx::sha256_file(&path).unwrap());
    }

    #[test]
    fn files_that_are_no_tokenizer_are_refused_with_the_cause() {
        let dir = tempfile::tempdir().unwrap();
        let message = |path: &Path| Tokenizer::from_path(path).unwrap_err().to_string();
        assert!(message(dir.path()).contains("neither tokenizer.json nor vocab.txt"));
        let repeated = write(dir.path(), "a.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nx\nx\n");
        assert!(message(&repeated).contains("line 6 repeats"));
        let incomplete = write(dir.path(), "b.txt", "[PAD]\n[CLS]\n[SEP]\nx\n");
        assert!(message(&incomplete).contains("lacks [UNK]"));
        let unigram = write(dir.path(), "c.json", r#"{"model":{"type":"Unigram","vocab":[["a",0.0]]}}"#);
        assert!(message(&unigram).contains("must be WordPiece or BPE"));
        // A merge that names tokens outside the vocabulary, and a model without its parts.
        for json in [
            r#"{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":[["q","z"]]}}"#,
            r#"{"model":{"type":"WordPiece"}}"#,
            "{",
        ] {
            let path = write(dir.path(), "d.json", json);
            assert!(message(&path).starts_with("tokenizer "), "{json}");
        }
    }

    #[test]
    fn ids_that_no_table_of_embeddings_would_hold_are_refused() {
        let message = |padding: &str, vocab: &str, processor: &str| {
            let json = format!(
                r#"{{"version":"1.0","truncation":null,"padding":{padding},"added_tokens":[],"normalizer":null,
                "pre_tokenizer":null,"post_processor":{processor},"decoder":null,"model":{{"type":"WordPiece",
                "unk_token":"[UNK]","continuing_subword_prefix":"\u0023#","max_input_chars_per_word":9,"vocab":{vocab}}}}}"#
            );
            Tokenizer::from_bytes(Path::new("t.json"), json.as_bytes(), true).map_err(|error| error.to_string())
        };
        let vocab = r#"{"[PAD]":0,"[UNK]":1,"[SEP]":2}"#;
        assert_eq!(message("null", vocab, "null").unwrap().vocab_size(), 3);
        let padding = r#"{"strategy":"BatchLongest","direction":"Right","pad_to_multiple_of":null,"pad_id":3,
                          "pad_type_id":0,"pad_token":"[PAD]"}"#;
        let text = message(padding, vocab, "null").unwrap_err();
        assert!(text.contains("a special token has id 3, the largest id of the vocabulary is below 3"), "{text}");
        let processor = r#"{"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",99]}"#;
        let text = message("null", vocab, processor).unwrap_err();
        assert!(text.contains("a special token has id 99"), "{text}");
        let text = message("null", r#"{"[PAD]":0,"[UNK]":4294967295}"#, "null").unwrap_err();
        assert!(text.contains("a vocabulary of 4294967296 tokens, the limit is 4194304"), "{text}");
    }
}
