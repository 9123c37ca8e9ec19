//! One value in many notations, and values that only look alike: numbers, expressions, functions.

use super::{different, same};

#[test]
fn numbers_in_other_words() {
    same(&[
        ("1/2", ".5"),
        ("2 1/3", "7/3"),
        (r"10\,000", "10000"),
        ("3:4", "6:8"),
        ("3:4", "3 : 4"),
        ("1011_2", "11"),
        ("204_5", "204_{5}"),
        ("204_5", "(204)_5"),
        ("7^{7^{7^7}}", "7^{7^{7^{7}}}"),
        ("2^{100}", "1267650600228229401496703205376"),
        ("|{-5}|", "5"),
        ("0.25", "1/4"),
        ("12", "12."),
        ("12", "12,"),
        ("12:30", "12:30"),
        ("5.0", "5"),
        ("007", "7"),
        ("-0", "0"),
        ("6.28", "6.28"),
        ("2^3", "8"),
        ("2**3", "8"),
    ]);
}

#[test]
fn numbers_that_differ() {
    different(&[
        ("1", "-1"),
        ("3", "4"),
        ("0", "1"),
        ("2^{-99}", "2^{-98}"),
        ("12:00", "1:00"),
        ("3", "(3)(2)"),
        ("55", "5 5"),
        ("5", "5 5"),
        ("50", "0.5"),
        ("0.5", "50"),
        ("204_5", "204_6"),
        ("3:4", "4:3"),
        ("7^{7^{7^7}}", "7^{7^{7^8}}"),
        ("10^{100}", "10^{101}"),
        ("12", "1 2"),
        ("12", "12/0"),
        ("12", ""),
        ("12", "?"),
        ("12", "((12"),
        ("12", "-12"),
        ("12", "12^2"),
        ("12", "0.12"),
        ("12", "1.2"),
        ("12", "120"),
        ("12", "12000"),
        ("0.0000001", "0.0000002"),
        ("10^{-20}", "10^{-21}"),
        ("100000000000000000000", "100000000000000000001"),
    ]);
}

#[test]
fn radicals_in_other_words() {
    same(&[
        (r"\sqrt{12}", r"2\sqrt{3}"),
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
        (r"\sqrt{\frac{1}{2}}", r"\frac{\sqrt2}{2}"),
        (r"\sqrt[3]{16}", r"2\sqrt[3]{2}"),
        ("2^{1/3}", r"\sqrt[3]{2}"),
        (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}"),
        (r"\sqrt{1/n}", r"1/\sqrt{n}"),
        (r"\frac{1+\sqrt{5}}{2}", r"\frac{\sqrt5+1}{2}"),
        (r"\frac{1}{\sqrt{5}-2}", r"\sqrt{5}+2"),
        (r"\sqrt{x^2}", "|x|"),
        (r"1-\sqrt{2}", r"1 - \sqrt2"),
        (r"2\sqrt{3}+4", r"4 + 2\sqrt{3}"),
        (r"\frac{2+\sqrt{2}}{2}", r"1+\frac{\sqrt{2}}{2}"),
        (r"9\sqrt[3]{3}", r"9 \cdot 3^{1/3}"),
        (r"11\sqrt2", r"11\sqrt{2}"),
        ("sqrt(2)/2", r"\frac{\sqrt{2}}{2}"),
        ("x^(1/2)", r"\sqrt{x}"),
        ("1/(2*sqrt(3))", r"\frac{\sqrt3}{6}"),
    ]);
}

#[test]
fn radicals_that_differ() {
    different(&[
        (r"\sqrt2", "1.41421356"),
        (r"1-\sqrt2", "1"),
        ("1", r"1-\sqrt{2}"),
        (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5}"),
        (r"\sqrt{-4}", "2"),
        (r"\sqrt[3]{-8}", "2"),
        (r"-\sqrt{4}", "2"),
    ]);
}

#[test]
fn expressions_in_other_words() {
    same(&[
        (r"\frac{1}{2}", "0.5"),
        (r"\frac12", r"\dfrac{1}{2}"),
        ("0.5", r"\tfrac{2}{4}"),
        (r"-\frac{3}{4}", "-0.75"),
        (r"\frac{-3}{4}", r"-\frac34"),
        (r"\frac{3}{-4}", r"-\frac34"),
        (r"1\frac{3}{4}", r"\frac{7}{4}"),
        ("x^2-1", "(x-1)(x+1)"),
        ("(a+b)^3", "a^3+3a^2b+3ab^2+b^3"),
        (r"\frac{x^2-4}{x-2}", "x+2"),
        ("x(y+z)", "xy+xz"),
        (r"\frac{a}{b}+\frac{c}{d}", r"\frac{ad+bc}{bd}"),
        ("2^{n+1}", r"2\cdot 2^n"),
        ("4^n", "2^{2n}"),
        (r"\frac{n(n+1)}{2}", r"\frac{n^2+n}{2}"),
        ("720", r"10\cdot9\cdot8"),
        (r"3.0\times 10^{5}", "300000"),
        ("3e5", "300000"),
        (r"1.2\cdot10^{-3}", "0.0012"),
        ("3:4", r"\frac34"),
        ("3+4i", "4i+3"),
        (r"\frac{1}{1+i}", r"\frac{1-i}{2}"),
        ("i^3", "-i"),
        ("(1+i)^2", "2i"),
        ("2+3i", r"2+3\mathrm{i}"),
        (r"\frac{\pi^2}{6}", r"\pi^2/6"),
        (r"2\pi r", r"2 \pi r"),
        (r"\pi", "π"),
        (r"36\pi", "36π"),
        ("x^{10}", "x^10"),
        ("a_1+a_2", "a_2+a_1"),
        (r"\alpha+\beta", "β+α"),
        ("10^{100}", r"10^{50}\cdot10^{50}"),
        (r"\left|-5\right|", "5"),
        (r"0.\overline{3}", r"\frac13"),
        (r"0.\overline{142857}", r"\frac17"),
        (r"0.1\overline{6}", "1/6"),
        (r"\text{} 5", "5"),
        (r"\mathbf{12}", "12"),
        (r"\boxed{12}", "12"),
        (r"\frac{3}{2}x", "1.5x"),
        ("-2x^2+4x+3", "-2(x-1)^2+5"),
        (r"\frac{5}{8}", "5/8"),
        ("0.625", r"5 \div 8"),
        (r"\frac{0}{5}", "0"),
        (r"\dfrac{9}{10}", r"\frac{9}{10}"),
        ("0.9", r"\frac{9}{10}"),
        ("3.14e2", "314"),
        ("(x+1)/(x-1)", r"\frac{x+1}{x-1}"),
        ("pi/4", r"\frac{\pi}{4}"),
        (r"\frac{\partial f}{\partial x}", r"\frac{\partial f}{\partial x}"),
        (r"\vec{v}", r"\vec{v}"),
        (r"\triangle ABC", r"\triangle ABC"),
        (r"\frac{\pi}{4}+k\pi", r"k\pi+\frac{\pi}{4}"),
        (r"\frac{\pi}{6}+2k\pi", r"2\pi k+\frac{\pi}{6}"),
        ("p - q", "-q+p"),
        ("-(x-3)", "3-x"),
        (r"\frac{x-1}{-2}", r"\frac{1-x}{2}"),
        ("2(x+3)", "2x+6"),
        ("x^2 y^3", "y^3x^2"),
        ("(-1)^{n+1}", "-(-1)^n"),
    ]);
}

#[test]
fn expressions_that_differ() {
    different(&[
        (r"\frac{1}{2}", "0.49"),
        (r"\frac13", "0.33"),
        (r"\pi", "3.14"),
        (r"\pi", r"\frac{22}{7}"),
        ("2^n", "n^2"),
        ("a+b", "a-b"),
        ("x^2+1", "x^2-1"),
        ("2x", "2y"),
        (r"\frac{a}{b+c}", r"\frac{a}{b}+c"),
        ("1/(2x)", "x/2"),
        ("3+4i", "3-4i"),
        ("3+4i", "5"),
        ("12", r"12\text{ is wrong}"),
        ("12", "12+x-x+1"),
        ("12", r"\frac{12}{}"),
        ("12", "12i"),
        ("12", r"12\pi"),
        ("12", "12e"),
        (r"\frac{10^{20}+1}{10^{20}}", "1"),
        (r"\frac{1}{e}", "e"),
        ("1-1/e", "1+1/e"),
    ]);
}

#[test]
fn functions_in_other_words() {
    same(&[
        (r"e^{i\pi}", "-1"),
        (r"e^{2\pi i/3}", r"-\frac12+\frac{\sqrt3}{2}i"),
        (r"\cos\frac{\pi}{3}", r"\frac12"),
        (r"\cos\left(\frac{\pi}{5}\right)", r"\frac{1+\sqrt5}{4}"),
        (r"\sin^2 x+\cos^2 x", "1"),
        (r"2\sin x\cos x", r"\sin 2x"),
        (r"\sin(2x)", r"2 \sin(x) \cos(x)"),
        (r"\ln 8", r"3\ln 2"),
        (r"\log_2 8", "3"),
        (r"\log_{4}{8}", r"\frac32"),
        (r"\ln|ab|", r"\ln|a|+\ln|b|"),
        (r"\log_{10} 100", "2"),
        (r"\frac{\ln 3}{\ln 2}", r"\log_2 3"),
        (r"e^{\ln 5}", "5"),
        (r"\ln\frac{1}{2}", r"-\ln 2"),
        (r"\ln(\sqrt{2})", r"\frac{1}{2}\ln 2"),
        (r"\arctan 1", r"\frac{\pi}{4}"),
        (r"\sin^{-1}(1)", r"\frac{\pi}{2}"),
        (r"\arccos\left(-\frac12\right)", r"\frac{2\pi}{3}"),
        (r"\sec^2 x", r"1+\tan^2 x"),
        (r"\cot x", r"\frac{\cos x}{\sin x}"),
        (r"\cosh x", r"\frac{e^x+e^{-x}}{2}"),
        ("e^{x+y}", "e^xe^y"),
        (r"\ln|x|+C", r"C+\ln|x|"),
        (r"-\cos x+C", r"C-\cos x"),
        (r"\frac{x}{2}-\frac{\sin 2x}{4}+C", r"\frac{x-\sin x\cos x}{2}+C"),
        ("exp(2)", "e^2"),
    ]);
}

#[test]
fn functions_that_differ() {
    different(&[
        (r"\sin x", r"\cos x"),
        (r"\sin x", "x"),
        (r"\ln 2", r"\log_{10}2"),
        ("e^x", "x^e"),
        (r"\sin^2 x", r"\sin(x^2)"),
        (r"\sin 2x", r"2\sin x"),
        (r"\sin b\cos a", r"\sin(b\cos a)"),
        ("e^{-1000}", "e^{-1001}"),
        ("1+e^{-1000}", "1"),
        (r"\ln 3", "3"),
    ]);
}

#[test]
fn combinatorics_in_other_words() {
    same(&[
        (r"n!\,(n+1)", "(n+1)!"),
        (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"),
        (r"\binom{10}{3}", "120"),
        ("120", r"{10 \choose 3}"),
        ("120", "C_{10}^{3}"),
        ("120", "{}_{10}C_{3}"),
        ("120", "_{10}C_3"),
        (r"\binom{10}{3}", r"\frac{10!}{3!7!}"),
        ("5!", "120"),
        ("15", "5!!"),
        (r"\frac{1}{2004!}", r"\frac{1}{2004!}"),
        (r"\sum_{k=1}^{10}k", "55"),
        (r"\prod_{k=1}^{4}k", "24"),
    ]);
}

#[test]
fn combinatorics_that_differ() {
    different(&[
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        ("n!", "(n-1)!"),
        ("5!!", "5!"),
        ("15!!", "15!"),
        ("12", "12!"),
        (r"\sum_{k=1}^{n}k", r"\sum_{k=1}^{n-1}k"),
        (r"\int_0^1 x dx", r"\int_0^2 x dx"),
    ]);
}

#[test]
fn older_and_rarer_notation() {
    same(&[
        ("1/2", r"1 \over 2"),
        ("1/2", r"{1 \over 2}"),
        ("x+1", r"{x^2-1 \over x-1}"),
        ("1/3", r"0.\dot{3}"),
        ("1/6", r"0.1\dot 6"),
        ("1/7", r"0.\dot{1}4285\dot{7}"),
        ("3:4", r"3\colon 4"),
        ("1011_2", r"1011_\text{two}"),
        ("1011_2", r"1011_{\text{two}}"),
        ("12", r"\color{red}{12}"),
        ("12", r"\textcolor{blue}{12}"),
        ("12", r"{\color{red} 12}"),
        (r"60 \text{ km/h}", r"60\ \frac{\text{km}}{\text{h}}"),
        (r"9.8 \text{ m/s}^2", r"9.8\ \frac{\mathrm{m}}{\mathrm{s}^2}"),
        (r"\dot{x}", r"\dot x"),
    ]);
    different(&[
        ("1/2", r"2 \over 1"),
        ("1/3", r"0.\dot{4}"),
        ("1/7", r"0.\dot{1}4285\dot{6}"),
        ("1/30", r"0.\dot{0}\dot{3}"),
        ("3:4", r"4\colon 3"),
        ("1011_2", r"1011_\text{three}"),
        ("12", r"\color{red}{13}"),
        (r"60 \text{ km/h}", r"60\ \frac{\text{mi}}{\text{h}}"),
        (r"60 \text{ km/h}", r"60\ \frac{\text{h}}{\text{km}}"),
    ]);
}

#[test]
fn halves_of_the_day() {
    same(&[
        (r"7:30 \text{ p.m.}", "7:30 PM"),
        (r"7:30 \text{ p.m.}", r"7:30\text{ pm}"),
        ("7:30", "7:30 pm"),
        ("am+bm", "m(a+b)"),
        ("PM", r"P \cdot M"),
    ]);
    different(&[
        (r"7:30 \text{ p.m.}", r"7:30 \text{ a.m.}"),
        ("7:30 PM", "7:30 AM"),
        ("7:30 PM", "8:30 PM"),
        (r"7:30 \text{ p.m.}", "7:20 PM"),
    ]);
}
