//! Letters, words behind numbers, units and names: what both sides say must be the same.

use super::{different, same};

#[test]
fn letters_are_words_and_order_counts() {
    different(&[
        ("no", "on"),
        ("yes", "sye"),
        ("cat", "act"),
        ("ACB", "ABC"),
        ("A B C", "C B A"),
        ("HTH", "HHT"),
        (r"\mathrm{HTH}", r"\mathrm{THH}"),
        ("BAC", "CAB"),
        (r"\angle ABC", r"\angle ACB"),
        (r"\text{(B)}", r"\text{B1}"),
    ]);
    same(&[
        ("xy", "yx"),
        ("2ab", "2ba"),
        ("ab", r"b\cdot a"),
        (r"\frac{abc}{2}", r"\frac{cab}{2}"),
        (r"\text{HTH}", "HTH"),
        (r"\angle ABC", r"\angle CBA"),
        (r"2\pi rh", r"2\pi hr"),
        (r"\frac n2", r"\frac{n}{2}"),
    ]);
}

#[test]
fn words_behind_a_number_may_be_left_out_but_not_changed() {
    different(&[
        (r"n\text{ even}", r"n\text{ odd}"),
        (r"2n, n\text{ even}", r"2n, n\text{ odd}"),
        (r"\$50\text{ profit}", r"\$50\text{ loss}"),
        (r"20\%\text{ increase}", r"20\%\text{ decrease}"),
        (r"10\text{ m north}", r"10\text{ m south}"),
        (r"5\text{ apples}", r"5\text{ oranges}"),
        (r"5\text{ cm}", r"5\text{ apples}"),
        (r"(3\text{ boys}, 4\text{ girls})", r"(3\text{ girls}, 4\text{ boys})"),
        (r"3\text{ boys and }4\text{ girls}", r"4\text{ boys and }3\text{ girls}"),
        (r"3\text{ boys}:4\text{ girls}", r"3\text{ girls}:4\text{ boys}"),
        (r"4\text{ p.m.}", r"4\text{ a.m.}"),
        (r"x<5\text{ cm}", r"x<5\text{ s}"),
        (r"(1,2)\text{ cm}", r"(1,2)\text{ kg}"),
    ]);
    same(&[
        (r"5\text{ apples}", "5"),
        ("5", r"5\text{ apples}"),
        (r"5\text{ red apples}", r"5\text{ apples}"),
        (r"5\text{ apples}", r"5\text{ apple}"),
        (r"10\text{ m north}", r"10\text{ m}"),
        (r"12\text{ (twelve)}", "12"),
    ]);
}

#[test]
fn percent_degrees_marks_and_currencies_are_units() {
    different(&[
        (r"45^\circ", r"45\%"),
        (r"20\%", r"20^\circ"),
        (r"\$20", r"20\%"),
        (r"\$20", "€20"),
        ("3'", "3''"),
        (r"3^\circ", "3'"),
        ("1", r"1\%"),
        (r"8\text{ kids}", r"8\%\text{ kids}"),
        (r"30^\circ", r"30^\circ C"),
    ]);
    same(&[
        (r"60\text{ miles per hour}", r"60\text{ mph}"),
        (r"25\text{ m/s}", r"90\text{ km/h}"),
        (r"9.8 m/s^2", r"9.8 m s^{-2}"),
        (r"5\ \Omega", r"5\ \text{ohms}"),
        (r"5^\circ30'", r"5.5^\circ"),
        (r"2\text{ hours }30\text{ minutes}", r"150\text{ minutes}"),
        (r"20^\circ\text{C}", "20"),
        ("1", r"100\%"),
    ]);
}

#[test]
fn definitions_by_cases_have_rows_in_any_order() {
    let even = r"\begin{cases}n^2&n\text{ even}\\n&n\text{ odd}\end{cases}";
    different(&[(even, r"\begin{cases}n^2&n\text{ odd}\\n&n\text{ even}\end{cases}")]);
    same(&[
        (even, r"\begin{cases}n&n\text{ odd}\\n^2&n\text{ even}\end{cases}"),
        (even, r"\begin{cases}n^2,&\text{if }n\text{ even},\\n,&\text{if }n\text{ odd}.\end{cases}"),
    ]);
}

#[test]
fn choices_have_contents() {
    different(&[
        (r"\text{(B)}", "(B)^2"),
        (r"\text{(B) } 12", "13"),
        (r"\text{(B) } 12", r"\text{(C) } 12"),
        (r"\text{(B) } 12", r"\text{(B) } 13"),
    ]);
    same(&[("12", r"\text{(B) } 12"), (r"\text{(B) } 12", "12"), (r"\text{(B) } 12", "B"), ("B", r"\text{(B) } 12")]);
}

#[test]
fn names_say_which_is_which() {
    different(&[
        ("a=3,b=4", "4,3"),
        ("(3,-1)", "(y,x)=(3,-1)"),
        ("(a,b)=(3,4)", "(b,a)=(3,4)"),
        ("0<x<1", r"0<x\text{ or }x<1"),
        ("x>0, x\\ne 1", "x>0"),
        ("6", "4+1=5=x"),
    ]);
    same(&[
        ("a=3,b=4", "3,4"),
        ("(a,b)=(3,4)", "(b,a)=(4,3)"),
        ("(a,b)=(3,4)", "a=3, b=4"),
        ("x=1,2", "x_1=1, x_2=2"),
        ("0<x<1", "0<x, x<1"),
        ("5", "4+1=5=x"),
        ("|x|=3", r"\pm 3"),
        (r"\text{DNE}", r"\text{does not exist}"),
        (r"2\operatorname{cis}60^\circ", r"1+i\sqrt3"),
        ("1:2", r"1\text{ to }2"),
    ]);
}
