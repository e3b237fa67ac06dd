//! How published models say that images are prepared: `preprocessor_config.json` of Hugging Face, `config.json` of timm.

use std::path::Path;

use serde_json::Value;

use crate::card::{Fit, Framing, Preprocess};

/// What the files beside a model say of its images, over what is usual for its kind.
pub(super) fn preprocess_beside(folder: &Path, usual: Preprocess) -> Preprocess {
    let read = |name: &str| -> Option<Value> {
        const LARGEST: u64 = 1 << 20;
        let path = folder.join(name);
        let small = std::fs::metadata(&path).is_ok_and(|data| data.is_file() && data.len() <= LARGEST);
        small.then(|| serde_json::from_slice(&std::fs::read(&path).ok()?).ok()).flatten()
    };
    if let Some(config) = read("preprocessor_config.json") {
        return of_hugging_face(&config, &usual);
    }
    match read("config.json").as_ref().and_then(|config| config.get("pretrained_cfg")) {
        Some(config) => of_timm(config, usual),
        None => usual,
    }
}

fn numbers(value: Option<&Value>, channels: usize) -> Option<Vec<f32>> {
    #[expect(clippy::cast_possible_truncation, reason = "means and deviations are small")]
    let values: Option<Vec<f32>> = value?.as_array()?.iter().map(|v| Some(v.as_f64()? as f32)).collect();
    values.filter(|values| values.len() == channels && values.iter().all(|v| v.is_finite()))
}

fn side(value: Option<&Value>) -> Option<usize> {
    let value = value?;
    let of = |key: &str| value.get(key).and_then(Value::as_u64);
    let side = value.as_u64().or_else(|| of("shortest_edge")).or_else(|| of("height"))?;
    usize::try_from(side).ok().filter(|side| (32..=4096).contains(side))
}

fn of_hugging_face(config: &Value, usual: &Preprocess) -> Preprocess {
    let channels = usual.mean.len();
    let flag = |key: &str| config.get(key).and_then(Value::as_bool);
    let crops = flag("do_center_crop").unwrap_or(false);
    let scaled = side(config.get("size")).unwrap_or(usual.image_size);
    let size = if crops { side(config.get("crop_size")).unwrap_or(scaled) } else { scaled };
    let normalised = flag("do_normalize").unwrap_or(true);
    let values = |key: &str, usual: &[f32], none: f32| {
        if normalised {
            numbers(config.get(key), channels).unwrap_or_else(|| usual.to_vec())
        } else {
            vec![none; channels]
        }
    };
    Preprocess {
        image_size: size,
        source_size: (2 * scaled).max(size),
        mean: values("image_mean", &usual.mean, 0.0),
        std: values("image_std", &usual.std, 1.0),
        framing: crops.then_some(Framing { fit: Fit::Crop, side: scaled.max(size) }),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the side of an image")]
fn of_timm(config: &Value, usual: Preprocess) -> Preprocess {
    let channels = usual.mean.len();
    let size = config.get("input_size").and_then(|sizes| side(sizes.get(1))).unwrap_or(usual.image_size);
    let part = config.get("crop_pct").and_then(Value::as_f64).filter(|part| (0.1..=1.0).contains(part)).unwrap_or(1.0);
    let scaled = (size as f64 / part).floor() as usize;
    Preprocess {
        image_size: size,
        source_size: 2 * scaled,
        mean: numbers(config.get("mean"), channels).unwrap_or(usual.mean),
        std: numbers(config.get("std"), channels).unwrap_or(usual.std),
        framing: Some(Framing { fit: Fit::Crop, side: scaled }),
    }
}
