//! The sentences of phantom reports, as templates (see [`super::grammar`]).
//!
//! `POSITIVE` says that a finding is there, `HEDGED` says so with doubt (mild findings), `NEGATIVE` says that it is
//! not. Slots: `{side}` left or right, `{where}` side and zone, `{degree}` and `{degreely}` severity, `{size}` the
//! size of a collection, `{nsize}` of a nodule, `{dens}` the density of a consolidation, `{rib}`, `{frac}`.

/// Verbs that several templates share.
pub(super) const SEEN: &str = "[is seen|is present|is noted|is identified]";
/// The same for a plural.
pub(super) const ARE: &str = "[are seen|are present|are noted|are identified]";
/// Beginnings of a denial.
pub(super) const NO: &str = "[there is no|no evidence of|no sign of|no visible]";
/// Endings of a doubt.
pub(super) const DOUBT: &str = "[cannot be excluded|is possible|is suspected]";

pub(super) const CARDIOMEGALY: &[&str] = &[
    "[the heart|the cardiac silhouette|the heart shadow|the cardiac shadow] is {degreely} enlarged",
    "[heart size|the heart size|cardiac size] is {degreely} increased",
    "{degree} cardiomegaly {seen}",
    "there is {degree} [cardiomegaly|cardiac enlargement|enlargement of the heart|enlargement of the cardiac silhouette]",
    "{degree} enlargement of the [heart|cardiac silhouette|cardiac shadow]",
    "the cardiothoracic ratio is {degreely} increased [|, consistent with cardiomegaly]",
    "the [cardiac|heart] [silhouette|shadow] is {degreely} widened",
];
pub(super) const CARDIOMEGALY_HEDGED: &[&str] = &[
    "[borderline|possible|probable] [cardiomegaly|cardiac enlargement] {seen}",
    "the heart [appears|may be] {degreely} enlarged",
    "{degree} cardiomegaly {doubt}",
];
pub(super) const CARDIOMEGALY_NEGATIVE: &[&str] = &[
    "[the heart|the cardiac silhouette|the heart shadow] is [normal in size|of normal size|not enlarged|within normal limits]",
    "[heart size|the heart size|cardiac size] is [normal|within normal limits]",
    "{no} [cardiomegaly|cardiac enlargement]",
    "the cardiothoracic ratio is [normal|within normal limits|not increased]",
    "the heart is not enlarged and its shadow is normal",
];
/// For a heart that is normal but close to the limit.
pub(super) const HEART_AT_LIMIT: &[&str] = &["[heart size|the heart size] is at the upper limit of normal"];

pub(super) const EFFUSION: &[&str] = &[
    "there is a {size} {side} [pleural effusion|effusion|sided pleural effusion]",
    "{size} {side} pleural effusion [|{seen}]",
    "a {size} [pleural effusion|effusion] {seen} on the {side}",
    "[blunting|obliteration] of the {side} costophrenic angle [consistent with|compatible with|due to] a {size} [pleural effusion|effusion]",
    "the {side} costophrenic angle is [blunted|obscured] by [pleural fluid|a {size} effusion|a {size} pleural effusion]",
    "a {size} amount of [pleural fluid|fluid] {seen} [at the {side} base|in the {side} pleural space]",
    "pleural fluid {seen} at the {side} [base|lung base]",
    "opacity with a meniscus at the {side} [base|lung base] [reflects|represents|indicates] a {size} pleural effusion",
];
pub(super) const EFFUSION_HEDGED: &[&str] = &[
    "[possible|probable] {size} {side} pleural effusion",
    "a {size} {side} [pleural effusion|effusion] {doubt}",
    "blunting of the {side} costophrenic angle may [represent|reflect] a {size} effusion",
];
pub(super) const EFFUSION_BOTH: &[&str] = &[
    "there are {size} bilateral [pleural effusions|effusions]",
    "{size} bilateral [pleural effusions|effusions] {are}",
    "[both|the] costophrenic angles are [blunted|obscured] by {size} [pleural effusions|effusions]",
    "blunting of both costophrenic angles [consistent with|compatible with|due to] {size} [pleural effusions|effusions]",
    "pleural fluid {seen} at both [bases|lung bases]",
    "{size} [pleural effusions|effusions] {are} on both sides",
];
pub(super) const EFFUSION_BOTH_HEDGED: &[&str] = &[
    "[possible|probable] {size} bilateral pleural effusions",
    "{size} bilateral effusions [cannot be excluded|are possible|are suspected]",
    "blunting of both costophrenic angles may [represent|reflect] {size} effusions",
];
pub(super) const EFFUSION_NEGATIVE: &[&str] = &[
    "{no} pleural effusion",
    "no pleural effusion {seen}",
    "no [pleural fluid|effusion] {seen} [|on either side]",
    "[the|both] costophrenic angles are [sharp|clear|preserved|not blunted]",
];

pub(super) const CONSOLIDATION: &[&str] = &[
    "there is {dens} [consolidation|airspace consolidation|airspace opacity|airspace disease] {where}",
    "{dens} [consolidation|airspace opacity|infiltrate|opacification] {where} [|, concerning for pneumonia|, suspicious for pneumonia|, consistent with pneumonia]",
    "{dens} [consolidation|airspace opacity] {seen} {where}",
    "[pneumonia|consolidation|infiltrate] {seen} {where}",
    "findings [suggest|are consistent with|are compatible with] pneumonia {where}",
    "{side} {zone} [zone|lung] [consolidation|infiltrate|pneumonia] {seen}",
];
pub(super) const CONSOLIDATION_HEDGED: &[&str] = &[
    "[possible|probable] [consolidation|pneumonia|infiltrate] {where}",
    "[consolidation|pneumonia] {where} {doubt}",
    "{dens} opacity {where} may [represent|reflect] [early pneumonia|consolidation]",
];
pub(super) const CONSOLIDATION_NEGATIVE: &[&str] = &[
    "{no} [focal consolidation|consolidation|pneumonia|airspace disease]",
    "no [focal consolidation|consolidation|airspace opacity|infiltrate] {seen}",
    "the lungs are [free of|without] [focal consolidation|consolidation]",
];

pub(super) const PNEUMOTHORAX: &[&str] = &[
    "there is a {size} {side} [pneumothorax|apical pneumothorax|sided pneumothorax]",
    "{size} {side} pneumothorax [|{seen}]",
    "a {size} pneumothorax {seen} on the {side}",
    "a [thin|visible] pleural line {seen} [at the {side} apex|on the {side}] [consistent with|indicating] a {size} pneumothorax",
    "lucency at the {side} [apex|lung apex] [indicates|represents] a {size} pneumothorax",
    "the {side} lung is partially collapsed [by|due to] a {size} pneumothorax",
    "visceral pleural line with absent lung markings [on the {side}|at the {side} apex]",
];
pub(super) const PNEUMOTHORAX_HEDGED: &[&str] = &[
    "[possible|probable] {size} {side} [|apical] pneumothorax",
    "a {size} {side} [|apical] pneumothorax {doubt}",
    "a thin line at the {side} apex may [represent|reflect] a {size} pneumothorax",
];
pub(super) const PNEUMOTHORAX_NEGATIVE: &[&str] = &[
    "{no} pneumothorax",
    "no pneumothorax {seen} [|on either side]",
    "both lungs are [fully|well] expanded without pneumothorax",
];

pub(super) const EDEMA: &[&str] = &[
    "there is {degree} [pulmonary edema|interstitial edema|interstitial pulmonary edema|pulmonary vascular congestion]",
    "{degree} [pulmonary edema|interstitial edema|vascular congestion] {seen}",
    "[bilateral|diffuse] perihilar [haze|opacities] [consistent with|in keeping with|compatible with] {degree} [pulmonary edema|interstitial edema]",
    "[increased|thickened|prominent] interstitial markings [with|and] Kerley lines [suggest|indicate] {degree} edema",
    "Kerley lines {are} at [both bases|both lung bases] [in keeping with|consistent with] {degree} edema",
    "the pulmonary vessels are [indistinct|engorged|prominent], consistent with {degree} [edema|congestion|pulmonary edema]",
    "findings [suggest|are consistent with|are compatible with] {degree} [pulmonary edema|interstitial edema]",
    "perihilar haze with [indistinct|prominent] vascular markings on both sides",
];
pub(super) const EDEMA_HEDGED: &[&str] = &[
    "[possible|probable] {degree} [pulmonary edema|interstitial edema|vascular congestion]",
    "{degree} [edema|pulmonary edema|vascular congestion] {doubt}",
    "slightly prominent interstitial markings may [represent|reflect] {degree} edema",
];
pub(super) const EDEMA_NEGATIVE: &[&str] = &[
    "{no} [pulmonary edema|edema|vascular congestion]",
    "no [pulmonary edema|interstitial edema|vascular congestion] {seen}",
    "the [pulmonary vasculature|pulmonary vascularity] is [normal|within normal limits|unremarkable]",
    "the [pulmonary|interstitial|vascular] markings are [normal|not increased]",
    "no Kerley lines {are}",
];

pub(super) const NODULE: &[&str] = &[
    "there is a {nsize} [nodule|pulmonary nodule|lung nodule|nodular opacity] {where}",
    "a {nsize} [nodule|pulmonary nodule|lung nodule|nodular opacity] {seen} {where}",
    "{nsize} [nodule|pulmonary nodule|nodular density] {where} [|, CT is recommended|, follow up is advised]",
    "[solitary|single] [pulmonary nodule|nodule|nodular opacity] {where}",
    "a {nsize} [nodule|nodular density|nodular opacity] [projects over|overlies] the {side} {zone} [zone|lung]",
    "{side} {zone} [zone|lung] [nodule|pulmonary nodule] {seen}",
];
pub(super) const NODULE_HEDGED: &[&str] = &[
    "[possible|probable] [nodule|pulmonary nodule|nodular opacity] {where}",
    "a {nsize} nodule {where} {doubt}",
    "{nsize} round opacity {where} may [represent|reflect] a [nodule|pulmonary nodule]",
];
pub(super) const NODULE_NEGATIVE: &[&str] = &[
    "{no} [pulmonary nodule|lung nodule|nodule or mass]",
    "no [suspicious nodule|nodule|pulmonary nodule|lung nodule] {seen}",
    "no [pulmonary nodules|lung nodules|nodules or masses] {are}",
];

pub(super) const FRACTURE: &[&str] = &[
    "there is a {frac} fracture of the {side} {rib} rib",
    "{frac} fracture of the {side} {rib} rib [|{seen}]",
    "{side} {rib} rib fracture {seen}",
    "a {frac} rib fracture {seen} on the {side}",
    "the {side} {rib} rib is [fractured|broken]",
    "cortical [step|gap|break] of the {side} {rib} rib [consistent with|indicating|compatible with] [|rib] fracture",
    "[discontinuity|disruption] of the {side} {rib} rib [indicates|represents] a {frac} fracture",
];
pub(super) const FRACTURE_HEDGED: &[&str] = &[
    "[possible|probable] {side} {rib} rib fracture",
    "a {frac} fracture of the {side} {rib} rib {doubt}",
    "cortical irregularity of the {side} {rib} rib may [represent|reflect] a fracture",
];
pub(super) const FRACTURE_NEGATIVE: &[&str] = &[
    "{no} [rib fracture|acute fracture|fracture]",
    "no [rib fracture|acute fracture|displaced fracture|fracture] {seen}",
    "the [ribs|bones|bony structures|osseous structures] are [intact|unremarkable]",
    "the bony thorax is [intact|unremarkable]",
    "the ribs are intact without fracture",
];

pub(super) const PACEMAKER: &[&str] = &[
    "a {side} [sided|chest|chest wall] pacemaker is [in place|present|seen|noted]",
    "there is a {side} [chest wall|sided] pacemaker with [a lead|the lead] in the [right ventricle|heart]",
    "the pacemaker [generator|device] [overlies|projects over] the {side} [chest|upper chest|chest wall]",
    "the pacemaker lead [ends|terminates] in the [right ventricle|heart]",
];
pub(super) const LINE: &[&str] = &[
    "a {side} [central venous|{route}] [line|catheter] is [in place|present|seen|noted]",
    "there is a {side} [central venous|{route}] [line|catheter] with the tip in the superior vena cava",
    "{side} [central|{route}] [line|catheter] [ends|terminates] in the superior vena cava",
    "the tip of the {side} [central line|central venous catheter|{route} catheter] is in the superior vena cava",
];
pub(super) const ENDOTRACHEAL: &[&str] = &[
    "an endotracheal tube is [in place|present|seen|noted]",
    "the [endotracheal tube|endotracheal tube tip] [ends|terminates|lies] above the carina",
    "the tip of the endotracheal tube [is|lies] above the carina",
    "there is an endotracheal tube in [the trachea|satisfactory position|good position]",
    "the patient is intubated with the tube tip above the carina",
];
pub(super) const NASOGASTRIC: &[&str] = &[
    "a [nasogastric|feeding|enteric] tube is [in place|present|seen|noted]",
    "[the|a] [nasogastric|feeding|enteric] tube [extends|passes|courses] into the stomach",
    "the tip of the [nasogastric|feeding|enteric] tube is in the stomach",
    "there is a [nasogastric|feeding|enteric] tube in [the stomach|satisfactory position|good position]",
];
/// For any device.
pub(super) const ANY_DEVICE: &[&str] = &[
    "[a support device|a medical device] is [in place|present|noted]",
    "support device in [place|satisfactory position]",
];
pub(super) const DEVICE_NEGATIVE: &[&str] = &[
    "no [support device|medical device|pacemaker|central line|catheter or tube|line or tube] {seen}",
    "no [support devices|medical devices|lines or tubes|catheters] {are}",
    "there is no [support device|medical device|pacemaker or central line|line or tube]",
];

/// Denials of two or three findings at once.
pub(super) const NO_EFFUSION_PNEUMOTHORAX: &[&str] = &[
    "{no} [pleural effusion or pneumothorax|pneumothorax or pleural effusion]",
    "no [effusion or pneumothorax|pneumothorax or effusion] {seen}",
];
pub(super) const NO_EFFUSION_PNEUMOTHORAX_CONSOLIDATION: &[&str] =
    &["{no} [focal consolidation|consolidation], [|pleural] effusion or pneumothorax"];
pub(super) const CLEAR_LUNGS: &[&str] =
    &["[the lungs are|both lungs are|lung fields are] clear", "no focal [lung|pulmonary] [lesion|abnormality] {seen}"];
pub(super) const NORMAL: &[&str] = &[
    "no acute [cardiopulmonary|intrathoracic] [abnormality|disease|process]",
    "normal [chest radiograph|frontal chest radiograph|appearance of the chest]",
    "no [significant|acute] abnormality {seen}",
];

/// Statements about the picture that are true but name no finding.
pub(super) const LOW_VOLUME: &[&str] = &["low lung volumes [|are noted]", "lung volumes are [low|reduced]"];
pub(super) const WELL_INFLATED: &[&str] = &["[the lungs|both lungs] are well [inflated|aerated]"];
pub(super) const ROTATED: &[&str] = &["the patient is [rotated|slightly rotated] to the {side}"];
pub(super) const WIDE_AORTA: &[&str] = &["the [aorta|aortic knob|aortic arch] is [prominent|unfolded|tortuous]"];
pub(super) const MEDIASTINUM: &[&str] = &[
    "the [mediastinum|mediastinal contour] is [normal|unremarkable|within normal limits]",
    "[mediastinal|hilar] contours are [normal|unremarkable]",
];
pub(super) const ECG_LEADS: &[&str] = &["ECG leads [overlie|project over] the chest"];

/// Statements that nothing in the picture supports.
pub(super) const DISTRACTING: &[&str] = &[
    "[single|portable|frontal] [AP|PA] view of the chest [|was obtained]",
    "comparison is made with the [prior|previous] [study|radiograph|examination]",
    "no prior [study|radiograph|examination] is available for comparison",
    "[mild|moderate] degenerative changes of the [thoracic spine|shoulders]",
    "history of [cough|fever|chest pain|shortness of breath|trauma|fall]",
];
