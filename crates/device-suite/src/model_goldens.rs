//! Layers, encoders and heads against torch, torchvision and transformers: the tests of `model` on the device under test.

use crate::device;

#[path = "../../model/tests/it/bert.rs"]
mod bert;
#[path = "../../model/tests/it/heads.rs"]
mod heads;
#[path = "../../model/tests/it/reductions.rs"]
mod reductions;
#[path = "../../model/tests/it/resnet.rs"]
mod resnet;
#[path = "../../model/tests/it/support.rs"]
mod support;
#[path = "../../model/tests/it/swin.rs"]
mod swin;
#[path = "../../model/tests/it/towers.rs"]
mod towers;
#[path = "../../model/tests/it/vit.rs"]
mod vit;
#[path = "../../model/tests/it/weights.rs"]
mod weights;
#[path = "../../model/tests/it/words.rs"]
mod words;
