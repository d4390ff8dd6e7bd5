"""Says that it is there, then sleeps: for tests that end it."""

import time

if __name__ == "__main__":
    print("here", flush=True)
    time.sleep(100)
