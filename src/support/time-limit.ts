const LATE = Symbol('late');

/** What `work` gives, or the failure once the limit has passed; `work` goes on then, and what it gives is dropped. */
export async function withTimeLimit<T>(work: Promise<T>, limitMs: number, failure: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<typeof LATE>((resolve) => {
    timer = setTimeout(() => resolve(LATE), limitMs);
  });
  try {
    const first = await Promise.race([work, late]);
    // Thrown here, behind the await, it has the asynchronous stack of the caller.
    if (first === LATE) throw failure();
    return first;
  } finally {
    clearTimeout(timer);
  }
}
