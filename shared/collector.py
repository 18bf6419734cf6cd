"""Python's garbage collector, in a service whose work is batches of objects without cycles."""

import gc

OBJECTS_BETWEEN_COLLECTIONS = 200_000


def spare_collector() -> None:
    """Let the collector leave what is loaded now alone, and come by less often.

    A batch makes some 100,000 objects that live as long as it does: going through them over and over cost a
    seventh of the labelling and a fifth of the sink (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
