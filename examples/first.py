import amorsize


def count_primes(limit: int) -> int:
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, limit))


if __name__ == "__main__":
    plan = amorsize.plan(count_primes, range(2000, 2400))
    print(plan)
    results = plan.run()
    print(plan.report)
    print(results[-1], "primes below 2399")
