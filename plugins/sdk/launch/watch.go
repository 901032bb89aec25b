package launch

import "time"

const watchEvery = 250 * time.Millisecond

// watch ends the process when it and its descendants together use more than they
// may.
func (p *Process) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var m meter
	for now := time.Now(); ; {
		u := p.child.usage()
		u.CPUSeconds = m.add(now, u.CPUSeconds, p.spec.Limits.CPUWindow)
		p.mu.Lock()
		p.usage = u
		p.mu.Unlock()
		if err := p.spec.Limits.judge(u, m.percent(p.spec.Limits.CPUWindow)); err != nil {
			p.end(err)
			return
		}
		select {
		case <-p.child.exited:
			return
		case now = <-tick.C:
		}
	}
}

func (l *Limits) judge(u Usage, percent float64) error {
	switch {
	case u.MemoryBytes > l.MemoryBytes:
		return overLimit("exceeded its memory of %s", mebibytes(l.MemoryBytes))
	case u.Processes > l.Processes:
		return overLimit("exceeded its %d processes", l.Processes)
	case percent > float64(l.CPUPercent):
		return overLimit("used more CPU than %d %% of a core, over %s", l.CPUPercent, l.CPUWindow)
	}
	return nil
}

// meter adds up the processor time of processes that come and go, and averages it
// over a sliding window.
type meter struct {
	last, total float64
	samples     []sample
}

type sample struct {
	at  time.Time
	cpu float64
}

// add takes the time that the present processes used so far, and returns the time
// that all of them ever did. Time that left with a process is kept.
func (m *meter) add(now time.Time, used float64, window time.Duration) float64 {
	if used > m.last {
		m.total += used - m.last
	}
	m.last = used
	m.samples = append(m.samples, sample{now, m.total})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= window {
		m.samples = m.samples[1:]
	}
	return m.total
}

// percent is 100 for one core; 0 before a whole window was seen.
func (m *meter) percent(window time.Duration) float64 {
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	if took := last.at.Sub(first.at); took >= window {
		return (last.cpu - first.cpu) / took.Seconds() * 100
	}
	return 0
}
