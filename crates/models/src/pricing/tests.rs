use super::*;

const OWN: &str = r#"
[[model]]
provider = "anthropic"
model = "claude-opus-5"
input = 1.0
output = 2.0
context_window = 1000
max_output_tokens = 100
"#;

fn of(name: &str, input: f64) -> String {
    format!(
        "[[model]]\nprovider = \"p\"\nmodel = \"{name}\"\ninput = {input:?}\noutput = 1.0\n\
         context_window = 10\nmax_output_tokens = 5\n"
    )
}

#[test]
fn the_shipped_table_says_what_a_token_costs() {
    let prices = Prices::shipped().unwrap();
    let haiku = Model {
        price: Price {
            input_nanousd: 1_000,
            cache_read_nanousd: 100,
            cache_write_nanousd: 1_250,
            output_nanousd: 5_000,
            version: "2026-11-22".into(),
        },
        context_window: 200_000,
        max_output_tokens: 64_000,
    };
    assert_eq!(prices.find("anthropic", "claude-haiku-4-5"), Some(haiku.clone()));
    assert_eq!(prices.find("anthropic", "claude-haiku-4-5-20251001"), Some(haiku.clone()));
    assert_eq!(prices.find("anthropic", "claude-haiku-4-5@20251001"), Some(haiku.clone()));
    assert_eq!(prices.find("openrouter", "anthropic/claude-haiku-4-5"), Some(haiku));
    for (provider, model) in [
        ("ollama", "qwen3"),
        ("anthropic", "claude-haiku-4"),
        ("anthropic", "claude-opus-5-9"),
        ("openai", "claude-haiku-4-5"),
        ("openai", "gpt-5.5-pro"),
        ("openai", ""),
    ] {
        assert_eq!(prices.find(provider, model), None, "{provider}/{model}");
    }
    for (key, model) in &prices.models {
        assert!(u64::from(model.max_output_tokens) < model.context_window * 2, "{key:?}");
        assert!(model.price.cache_read_nanousd <= model.price.input_nanousd, "{key:?}");
        assert!(model.price.input_nanousd < model.price.output_nanousd, "{key:?}");
    }
}

#[test]
fn own_lines_are_laid_over_the_shipped_ones() {
    let prices = Prices::shipped().unwrap().with(Prices::parse(OWN).unwrap());
    let own = prices.find("anthropic", "claude-opus-5").unwrap();
    let price = Price {
        input_nanousd: 1_000,
        cache_read_nanousd: 1_000,
        cache_write_nanousd: 1_000,
        output_nanousd: 2_000,
        version: "own".into(),
    };
    assert_eq!(own, Model { price, context_window: 1_000, max_output_tokens: 100 });
    let shipped = Prices::shipped().unwrap();
    assert_eq!(
        prices.find("anthropic", "claude-sonnet-5"),
        shipped.find("anthropic", "claude-sonnet-5")
    );
}

#[test]
fn the_longest_name_wins_and_only_dates_may_follow_it() {
    let text = of("m", 1.0) + &of("m-2025", 2.0) + &of("m-mini", 3.0);
    let prices = Prices::parse(&text).unwrap();
    let input = |name| prices.find("p", name).map(|model| model.price.input_nanousd);
    assert_eq!(input("m"), Some(1_000));
    assert_eq!(input("m-2024-01-02"), Some(1_000));
    assert_eq!(input("m-2025-01-02"), Some(2_000));
    assert_eq!(input("m-mini-latest"), Some(3_000));
    assert_eq!(input("m-0613"), Some(1_000));
    for name in ["m-pro", "m2", "m:free", "m-", "m-7b", "m-5", "n"] {
        assert_eq!(input(name), None, "{name}");
    }
}

#[test]
fn a_table_that_is_none_is_refused_with_its_place() {
    for amount in [-1.0, f64::NAN, f64::INFINITY, 2e6] {
        let text = of("m", amount).replace("NaN", "nan");
        let error = Prices::parse(&text).unwrap_err().to_string();
        assert!(error.starts_with("'input' of p/m must be dollars"), "{error}");
    }
    let error = Prices::parse("[[model]]\nprovider = 1").unwrap_err().to_string();
    assert!(error.starts_with("the table of prices cannot be read"), "{error}");
    let typo = of("m", 1.0) + "cache_reads = 1.0\n";
    assert!(Prices::parse(&typo).is_err());
}
