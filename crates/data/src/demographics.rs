//! What a manifest says of a person, as coarsely as figures by subgroup need it.

/// Sex and age band of a patient at the time of an image; what is not known is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demographics {
    /// Sex.
    pub sex: Option<Sex>,
    /// Age band. The age itself is not kept.
    pub age: Option<AgeBand>,
}

/// Sex as radiology systems record it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sex {
    /// Female.
    Female,
    /// Male.
    Male,
}

/// Age in bands of twenty years, all minors in one and all from 80 on in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgeBand {
    /// Below 18 years.
    Below18,
    /// 18 to 39 years.
    From18,
    /// 40 to 59 years.
    From40,
    /// 60 to 79 years.
    From60,
    /// 80 years and more.
    From80,
}

/// Ages beyond this are mistakes (years).
const OLDEST: f64 = 150.0;

impl Sex {
    /// `F`, `female`, `M` or `male`, in any case; `None` for anything else.
    pub fn parse(field: &str) -> Option<Self> {
        match field.trim().to_ascii_lowercase().as_str() {
            "f" | "female" => Some(Self::Female),
            "m" | "male" => Some(Self::Male),
            _ => None,
        }
    }

    /// Name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Female => "female",
            Self::Male => "male",
        }
    }
}

impl AgeBand {
    /// The band of an age in years (`63`, `63.0`), as de-identified sources cap it (`90+`), or as DICOM writes it (`063Y`,
    /// `018M`, `003W`, `010D`); `None` for anything else.
    ///
    /// # Source
    /// DICOM PS3.5, section 6.2, value representation AS.
    pub fn parse(field: &str) -> Option<Self> {
        let field = field.trim();
        let (number, years) = match field.char_indices().next_back()? {
            (end, 'Y' | 'y' | '+') => (&field[..end], 1.0),
            (end, 'M' | 'm') => (&field[..end], 1.0 / 12.0),
            (end, 'W' | 'w') => (&field[..end], 7.0 / 365.25),
            (end, 'D' | 'd') => (&field[..end], 1.0 / 365.25),
            _ => (field, 1.0),
        };
        let age = number.parse::<f64>().ok()? * years;
        (0.0..=OLDEST).contains(&age).then(|| Self::of(age))
    }

    fn of(years: f64) -> Self {
        match years {
            _ if years < 18.0 => Self::Below18,
            _ if years < 40.0 => Self::From18,
            _ if years < 60.0 => Self::From40,
            _ if years < 80.0 => Self::From60,
            _ => Self::From80,
        }
    }

    /// Name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Below18 => "<18",
            Self::From18 => "18-39",
            Self::From40 => "40-59",
            Self::From60 => "60-79",
            Self::From80 => "80+",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_fall_into_bands() {
        let name = |field: &str| AgeBand::parse(field).map(AgeBand::name);
        for (field, band) in [
            ("0", "<18"),
            ("17.9", "<18"),
            ("18", "18-39"),
            ("39", "18-39"),
            (" 40.0 ", "40-59"),
            ("60", "60-79"),
            ("80", "80+"),
            ("90+", "80+"),
            ("063Y", "60-79"),
            ("018M", "<18"),
            ("010D", "<18"),
        ] {
            assert_eq!(name(field), Some(band), "{field}");
        }
        for field in ["", "old", "-1", "NaN", "inf", "1950", "Y", "6\u{e9}", "18 years"] {
            assert_eq!(name(field), None, "{field}");
        }
    }

    #[test]
    fn sexes_are_read_in_any_case() {
        assert_eq!(["F", " female", "M", "MALE"].map(Sex::parse).map(|sex| sex.map(Sex::name)), {
            [Some("female"), Some("female"), Some("male"), Some("male")]
        });
        assert_eq!(["", "O", "unknown"].map(Sex::parse), [None; 3]);
    }
}
