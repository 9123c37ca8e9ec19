//! Shares of texts in one language and in several.

use data::{Item, Status, Verdict};
use serde_json::{Value, json};

use super::*;

fn item(completion: &str) -> Item {
    Item {
        id: "a".into(),
        prompt: None,
        completion: completion.into(),
        ground_truth: Value::Null,
        data_source: None,
        extra_info: Value::Null,
        token_count: None,
        truncated: false,
    }
}

fn judge(settings: LanguageSettings, item: &Item) -> Verdict {
    let verifier = LanguageVerifier::new(settings).expect("the settings are sound");
    verifier.verify(std::slice::from_ref(item)).pop().expect("one verdict an item")
}

fn to(target: &str) -> LanguageSettings {
    LanguageSettings { target: target.into(), ..LanguageSettings::default() }
}

fn share(target: &str, text: &str) -> f64 {
    judge(to(target), &item(text)).metrics["share"]
}

const ENGLISH: &str = "Let us compute the sum of the first ten odd numbers. Each of them is of the form $2k-1$, so the sum \
    is the square of ten. Therefore the answer is \\boxed{100}.";
const FRENCH: &str = "Calculons la somme des dix premiers nombres impairs. Chacun est de la forme $2k-1$, donc la somme est \
    le carré de dix. La réponse est donc \\boxed{100}.";
const GERMAN: &str = "Wir berechnen die Summe der ersten zehn ungeraden Zahlen. Jede hat die Form $2k-1$, also ist die Summe \
    das Quadrat von zehn. Die Antwort ist daher \\boxed{100}.";
const CHINESE: &str = "我们来计算前十个奇数的和。每个数的形式是 $2k-1$，所以和是十的平方。因此答案是 \\boxed{100}。";
const JAPANESE: &str = "最初の十個の奇数の和を計算しましょう。それぞれの数は $2k-1$ の形なので、和は十の二乗です。";
const RUSSIAN: &str = "Вычислим сумму первых десяти нечётных чисел. Каждое из них имеет вид $2k-1$, поэтому сумма равна \
    квадрату десяти.";
const UKRAINIAN: &str = "Обчислимо суму перших десяти непарних чисел. Кожне з них має вигляд $2k-1$, тому сума дорівнює \
    квадрату десяти.";

#[test]
fn a_text_is_in_its_own_language_and_in_no_other() {
    let texts = [
        ("en", ENGLISH),
        ("fr", FRENCH),
        ("de", GERMAN),
        ("zh", CHINESE),
        ("ja", JAPANESE),
        ("ru", RUSSIAN),
        ("uk", UKRAINIAN),
    ];
    for (target, _) in texts {
        for (of, text) in texts {
            let share = share(target, text);
            // Kanji are Chinese characters, and Chinese has no character of its own: only kana tell the two apart.
            match (target, of) {
                _ if target == of => assert_eq!(share, 1.0, "{of} as {target}"),
                ("ja", "zh") => assert_eq!(share, 1.0),
                ("zh", "ja") => assert!(share < 0.6, "{share}"),
                _ => assert_eq!(share, 0.0, "{of} as {target}"),
            }
        }
    }
}

#[test]
fn the_share_counts_words_and_is_the_reward() {
    let mixed = judge(to("en"), &item("So the answer must be 所以答案是五 here"));
    assert_eq!((mixed.status, mixed.metrics["words"]), (Status::Fail, 12.0));
    assert_eq!(mixed.reward, Some(0.5));
    assert_eq!((mixed.tags["target"].as_str(), mixed.tags["foreign"].as_str()), ("en", "Han"));
    let strict = LanguageSettings { reward: LanguageReward::Pass, ..to("en") };
    assert_eq!(judge(strict.clone(), &item("So the answer must be 所以答案是五 here")).reward, Some(0.0));
    assert_eq!(judge(strict, &item(ENGLISH)).reward, Some(1.0));
    let half = LanguageSettings { threshold: 0.5, ..to("en") };
    assert_eq!(judge(half, &item("So the answer must be 所以答案是五 here")).status, Status::Pass);
}

#[test]
fn math_and_code_do_not_count() {
    let text = "所以我们写一个函数：\n```python\ndef add(a, b):\n    return a + b  # the sum of both\n```\n其中 `add` 返回 \
        $\\text{the sum}$，答案是 \\boxed{\\text{five apples}}。";
    assert_eq!(share("zh", text), 1.0);
}

#[test]
fn names_addresses_and_code_without_a_fence_do_not_count_against_a_text() {
    for (target, text) in [
        ("zh", "我们用 NumPy 和 PyTorch 在 GPU 上训练 Transformer 模型，学习率为 0.001。"),
        ("zh", "根据 Cauchy-Schwarz 不等式，我们得到 a+b ≥ 2。"),
        ("zh", "参见 www.example.com/docs 了解更多，答案是五十。"),
        ("zh", "请联系 info@example.com 获取帮助，文件在 /usr/local/lib/python3 里。"),
        ("zh", "def add(a, b):\n    return a + b\n\n上面的函数返回两个数的和。"),
        ("zh", "設函數為 f(x)，則其導數為二次函數，因此答案為五十。"),
        ("ko", "파이썬 Python 으로 함수를 작성합니다. 답은 오십입니다."),
        ("ru", "Используем Python и библиотеку NumPy, чтобы решить задачу. Ответ пятьдесят."),
        ("sr", "Израчунајмо збир првих десет непарних бројева. Сваки од њих је облика 2k-1, па је збир квадрат."),
        ("sr", "Izračunajmo zbir prvih deset neparnih brojeva. Svaki od njih je oblika 2k-1, pa je zbir kvadrat."),
    ] {
        assert_eq!(share(target, text), 1.0, "{text}");
    }
    assert!(share("zh", "答案是五十。The answer is fifty two apples in total here.") < 0.5);
    assert_eq!(
        share("ru", "Израчунајмо збир првих десет непарних бројева. Сваки од њих је облика 2k-1, па је збир квадрат."),
        0.0
    );
}

#[test]
fn a_short_text_that_looks_like_another_language_is_undecided() {
    for (text, own) in [
        ("La réponse est donc cent euros.", "fr"),
        ("Die Antwort ist also hundert Euro.", "de"),
        ("La respuesta es cien euros exactamente.", "es"),
        ("The answer is therefore one hundred.", "en"),
        ("Таким образом, ответ равен пяти.", "ru"),
    ] {
        for target in ["fr", "de", "es", "en", "ru", "uk"] {
            let status = judge(to(target), &item(text)).status;
            let of_script = (target == "ru" || target == "uk") == (own == "ru");
            let expected = if target == own {
                Status::Pass
            } else if of_script {
                Status::Undecided
            } else {
                Status::Fail
            };
            assert_eq!(status, expected, "{text} as {target}");
        }
    }
    // English as it stands at the end of a solution.
    let mut undecided = Vec::new();
    for text in [
        "The answer is five apples.",
        "Therefore, the final answer is 12.",
        "So the total number of ways is 24.",
        "Let x be the number. Then 2x + 3 = 7, so x = 2.",
        "Thus there are 16 such integers in all.",
        "Hence the area of the triangle is 30.",
        "We get x = 3 and y = 4, so the sum is 7.",
        "It follows that the value is equal to one half.",
        "This gives us a total of 42 dollars.",
        "Now we only need to add both of them.",
    ] {
        if judge(to("en"), &item(text)).status != Status::Pass {
            undecided.push(text);
        }
    }
    assert!(undecided.len() <= 1, "{undecided:?}");
}

#[test]
fn a_sentence_in_another_language_of_the_same_script_is_seen() {
    let mixed = format!("{ENGLISH} {ENGLISH}\n{FRENCH}");
    let (english, scripts) = (share("en", &mixed), LanguageSettings { detect: false, ..to("en") });
    assert!((0.55..0.8).contains(&english), "{english}");
    assert_eq!(judge(scripts, &item(&mixed)).metrics["share"], 1.0);
}

#[test]
fn the_target_may_be_the_prompts_or_the_items_own() {
    let asked =
        |prompt: &str, completion: &str| judge(to("prompt"), &Item { prompt: Some(prompt.into()), ..item(completion) });
    assert_eq!(asked("求前十个奇数的和。", CHINESE).status, Status::Pass);
    assert_eq!(asked("求前十个奇数的和。", ENGLISH).status, Status::Fail);
    assert_eq!(asked("Find the sum of the first ten odd numbers.", ENGLISH).status, Status::Pass);
    assert_eq!(asked("Quelle est la somme des dix premiers nombres impairs ?", FRENCH).status, Status::Pass);
    assert_eq!(asked("1 + 1 =", ENGLISH).status, Status::Undecided);
    let own = Item { extra_info: json!({"language": {"target": "zh"}}), ..item(CHINESE) };
    assert_eq!(judge(to("en"), &own).status, Status::Pass);
}

#[test]
fn one_part_alone_may_be_judged() {
    let text = format!("<think>{CHINESE}</think>{ENGLISH}");
    let part = |part| judge(LanguageSettings { part, ..to("en") }, &item(&text)).metrics["share"];
    assert_eq!((part(Part::Reasoning), part(Part::Answer)), (0.0, 1.0));
    assert!((0.2..0.8).contains(&part(Part::All)));
}

#[test]
fn inv_9_what_cannot_be_judged_is_no_reward() {
    let short = judge(to("en"), &item("$1+1$ is \\boxed{2}"));
    assert_eq!((short.status, short.reward), (Status::Undecided, Some(0.0)));
    let promptless = judge(to("prompt"), &item(ENGLISH));
    assert_eq!((promptless.status, promptless.reward), (Status::Error, None));
    let odd = Item { extra_info: json!({"language": {"target": "xx"}}), ..item(ENGLISH) };
    assert_eq!(judge(to("en"), &odd).status, Status::Error);
}

#[test]
fn impossible_settings_are_refused() {
    assert!(matches!(LanguageVerifier::new(to("english")), Err(LanguageError::UnknownLanguage(_))));
    for threshold in [0.0, 1.1, f64::NAN] {
        let refused = LanguageVerifier::new(LanguageSettings { threshold, ..to("en") });
        assert!(matches!(refused, Err(LanguageError::Threshold(_))), "{threshold}");
    }
}
