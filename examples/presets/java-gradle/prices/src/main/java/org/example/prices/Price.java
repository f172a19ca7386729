package org.example.prices;

public final class Price {
    private Price() {}

    public static int ofCups(int count) {
        return 3 * count;
    }
}
