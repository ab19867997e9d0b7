from backend.words import counted, listed, literal, mean_sd


def test_markdown_is_shown_literally():
    assert literal("**bold** _i_ `c` [l](u) # h <b>") == (
        r"\*\*bold\*\* \_i\_ \`c\` \[l\]\(u\) \# h \<b\>"
    )
    assert literal("$x$ ~s~ | a") == r"\$x\$ \~s\~ \| a"


def test_directives_and_icons_are_broken_up_and_lines_joined():
    assert ":material" not in literal(":material/home:")
    assert literal("a\nb\n\n# c") == r"a b \# c"


def test_plain_words_are_left_alone():
    assert literal("late seed 0 ± é 漢") == "late seed 0 ± é 漢"


def test_lists_counts_and_means_read_well():
    assert listed([]) == "" and listed(["a"]) == "a" and listed("abc") == "a, b and c"
    assert counted(1, "run") == "1 run" and counted(1024, "run") == "1,024 runs"
    assert mean_sd([0.9, 0.8]) == "0.850 ± 0.071"
    assert mean_sd([0.9]) == "0.900" and mean_sd([]) == "–"
