//! Tunings as text, and the words that drivers use.

use hosttune_core::testing::laws;
use hosttune_cpu::{EnergyPreference, Frequency, Governor, Processors};
use proptest::prelude::*;

#[test]
fn a_tuning_is_plain_data() {
    let wanted = Processors::new()
        .policies([0, 8])
        .governor(Governor::Schedutil)
        .energy_preference(EnergyPreference::Raw(64))
        .minimum(Frequency::Lowest)
        .maximum(Frequency::megahertz(2400))
        .boost(false)
        .why("quiet")
        .optional();
    let text = serde_json::to_string(&wanted).unwrap();
    assert_eq!(serde_json::from_str::<Processors>(&text).unwrap(), wanted);
    let short = r#"{"governor": "performance", "maximum": "highest"}"#;
    let short: Processors = serde_json::from_str(short).unwrap();
    let said = Processors::new()
        .governor(Governor::Performance)
        .maximum(Frequency::Highest);
    assert_eq!(short, said);
    assert!(serde_json::from_str::<Processors>(r#"{"governer": "performance"}"#).is_err());
}

#[test]
fn what_is_no_preference_is_refused_with_those_that_are() {
    for text in ["default", "powersave", "256", "-1", "", "Performance"] {
        let error = text.parse::<EnergyPreference>().unwrap_err();
        assert!(error.contains("balance_power"), "{error}");
    }
    assert_eq!("128".parse(), Ok(EnergyPreference::Raw(128)));
}

proptest! {
    #[test]
    fn words_and_models(word in "[a-z0-9_]{1,15}", number in any::<u8>()) {
        let governor = Governor::from(word.as_str());
        prop_assert_eq!(governor.word(), word);
        let preference = EnergyPreference::Raw(number);
        laws::text_of_model(&preference, EnergyPreference::word, str::parse)
            .map_err(|broken| TestCaseError::fail(broken.to_string()))?;
    }

    #[test]
    fn no_text_panics(text in ".{0,40}") {
        let _ = text.parse::<EnergyPreference>();
        let _ = serde_json::from_str::<Processors>(&text);
        prop_assert_eq!(Governor::from(text.as_str()).word().to_owned(), text.to_ascii_lowercase());
    }
}
