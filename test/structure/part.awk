# Prints one part of C sources, line by line with the others emptied: -v part=code (string and
# character literals without their content), part=comment, or part=both (code, \001, comment). Each
# line: file:number:text

FNR == 1 { state = "code" }

{
    code = ""; comment = ""; rest = $0
    while (rest != "") {
        if (state == "code") {
            if (!match(rest, /["']|\/\*|\/\//)) { code = code rest; break }
            token = substr(rest, RSTART, RLENGTH)
            code = code substr(rest, 1, RSTART - 1)
            rest = substr(rest, RSTART + RLENGTH)
            if (token == "/*") { state = "block"; code = code " " }
            else if (token == "//") { state = "code"; comment = comment rest; break }
            else { state = token; code = code token }
        } else if (state == "block") {
            if (!(at = index(rest, "*/"))) { comment = comment rest; break }
            comment = comment substr(rest, 1, at - 1) " "
            rest = substr(rest, at + 2)
            state = "code"
        } else { # in a literal that began with the quote in `state`
            if (substr(rest, 1, 1) == "\\") { rest = substr(rest, 3); continue }
            if (substr(rest, 1, 1) == state) { code = code state; state = "code" }
            rest = substr(rest, 2)
        }
    }
    # an #include names a file, not a string
    if ($0 ~ /^[ \t]*#[ \t]*include/ && state == "code") code = $0
    print FILENAME ":" FNR ":" (part == "code" ? code : part == "both" ? code "\001" comment : comment)
}
