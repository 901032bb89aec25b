package launch

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"
)

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

// folderEvery is how often the temporary files are summed up, which takes longer.
const folderEvery = 2 * time.Second

// watchFolder ends the process when the files in its folder are too many or too
// large in sum, or when it hides them.
func (p *Process) watchFolder() {
	tick := time.NewTicker(folderEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.child.exited:
			return
		case <-tick.C:
		}
		if err := p.spec.Limits.judgeFolders(p.folder.tmp, p.folder.run); err != nil {
			p.end(err)
			return
		}
	}
}

func (l *Limits) judgeFolders(folders ...string) error {
	var used int64
	files := 0
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
			var info fs.FileInfo
			if err == nil {
				info, err = d.Info()
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it went meanwhile
			}
			if err != nil {
				return err
			}
			used += occupied(info)
			if files++; files > maxFiles {
				return overLimit("exceeded its %d temporary files", maxFiles)
			}
			if used > l.FolderBytes {
				return overLimit("exceeded its %s of temporary files", mebibytes(l.FolderBytes))
			}
			return nil
		})
		switch {
		case errors.Is(err, ErrLimit):
			return err
		case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENAMETOOLONG):
			return overLimit("has temporary files that cannot be looked at: %v", errors.Unwrap(err))
		}
	}
	return nil
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
