package org.example.prices;

import static org.junit.Assert.assertEquals;

import org.junit.Test;

public final class PriceTest {
    @Test
    public void cupsCostThree() {
        assertEquals(21, Price.ofCups(7));
    }
}
