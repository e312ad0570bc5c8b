package bi

import (
	"testing"

	"rapport/store/storetest"
)

// TestOnALog are the promises about one log, which none of them changes.
func TestOnALog(t *testing.T) {
	t.Parallel()
	db := folded(t, plan)
	for name, promise := range map[string]func(*testing.T, *storetest.Database){
		"every panel's query runs":                              everyPanelsQueryRuns,
		"views count what is in the log and its sessions":       viewsCountWhatIsInTheLogAndItsSessions,
		"timeseries agrees with the API":                        timeseriesAgreesWithTheAPI,
		"stats, breakdown and funnel agree with the API":        otherFunctionsAgreeWithTheAPI,
		"functions with their owner's rights serve nobody else": functionsServeNobodyElse,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			promise(t, db)
		})
	}
}
