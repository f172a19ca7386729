const char *who(void) {
    return "closure";
}
